"""What AdapterBook costs, measured: ``make bench``. Nothing of the project imports this package."""
