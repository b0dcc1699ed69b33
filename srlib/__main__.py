"""`python -m srlib`: the command line, `srlib.cli`."""

from .cli import main

main()
