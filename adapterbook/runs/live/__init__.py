"""Prepare the adapters for the page on which readers try them: the base model in 8 bits, each adapter beside it.

Everything here is NumPy: nothing that a run computes depends on it, and a change trains no run again.
"""
