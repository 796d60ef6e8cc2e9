"""Turn texts, tables and code into Quarto Markdown."""
