"""Plan the runs of a study, read their records, and tell which runs are due. Imports sources, config and common."""
