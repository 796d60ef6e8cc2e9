"""Find the base model and the data set, and bring them to local folders. Imports config and common."""
