"""Front end 3: the inside of neural networks; the cross-world cells are patched forward passes.

A `Site` names a place in a network, a `Subject` reads and sets activations there, a `PatchStudy`
pairs inputs with a metric, and `Patch` runs every counterfactual cell ``Y(a, M(b))``: the input of
level ``a`` with the sites set to the values they have under the input of level ``b``.
"""
