"""Run the command line: ``python -m adapterbook``."""

from adapterbook.cli import main

main()
