"""`python -m vramd`: the command line."""

from vramd_cli.console import main

main()
