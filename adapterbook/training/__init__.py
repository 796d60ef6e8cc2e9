"""Train one run in a kernel. Imports runs, sources, config and common.

Every file of this folder is in the code stamp: a change makes every run stale. Nearly all of them load torch.
"""
