"""Read the YAML files into frozen settings. Imports common."""
