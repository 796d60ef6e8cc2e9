"""Help every other room: files, cache, errors, text for the terminal. Imports no other room."""
