"""Whether a network computes the way a causal program says it does.

`CausalProgram` is the hypothesis, `AlignmentTask` says how its inputs and answers look to the
network, `interchange_accuracy` tests it at given sites, `align` searches the subspaces where its
variables live, `illusion` asks whether a subspace is real, and `interchange_training` makes a
network follow the program.
"""
