"""Show a number with the way to the record it is from."""
