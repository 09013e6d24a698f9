"""Causal graphs: reading them, separating their nodes, projecting out what is unmeasured."""
