"""Do what one `make` target asks for, one file a target. Imports every other room."""
