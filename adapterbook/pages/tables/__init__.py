"""Write tables: columns over rows of the report, as Markdown."""
