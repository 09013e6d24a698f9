"""The exact parametric engine behind `Regression`: models, laws of cells, stacked scores."""
