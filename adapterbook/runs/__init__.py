"""Plan the runs of a study, read their records, tell which are due, and prepare adapters for readers.

Imports sources, config and common.
"""
