"""Learned models of a vector of mediators: how they are fitted, integrated and asked."""
