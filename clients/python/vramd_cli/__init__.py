"""The command line of vramd.

`console` is the entry, `main` finds the command, and each file in `commands/` has one command or several that belong
together. May import the SDK and, inside a command, the supervisor's package.
"""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
