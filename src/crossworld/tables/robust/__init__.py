"""Machine-learned nuisances, cross-fitted once and shared by every cell and estimator."""
