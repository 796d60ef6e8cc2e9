"""Show a number with a link to the record it comes from."""
