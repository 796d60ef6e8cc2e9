"""Push a folder to a branch, and adapters to the Hub. Imports sources, runs, config and common."""
