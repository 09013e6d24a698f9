"""For whom an effect holds: scores projected on covariates. Nothing is fitted again."""
