"""Reasoning studies: how much of a prompt's effect on the answer goes through the reasoning.

The treatment is the prompt, the mediator is the text the model reasons in, the outcome is the
answer. Reasoning is collected first (`collect`), frozen, and shown again under the other prompt;
estimation reads the table of readouts and never calls a model.
"""
