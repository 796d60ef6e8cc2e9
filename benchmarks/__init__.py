"""Measure what AdapterBook costs: ``make bench``. No other package imports this one."""
