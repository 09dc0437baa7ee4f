"""`python -m vramd`: the command line."""

from vramd.console import main

main()
