"""Which effects a causal graph gives, from what, and why it does not give the others."""
