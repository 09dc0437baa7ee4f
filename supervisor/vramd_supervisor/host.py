"""The output of a supervisor that another program started (`vramd serve --handshake stdout`).

That program may read both pipes or neither: after one line on stdout nothing is written that it would have to take.
"""

import contextlib
import os
import sys
from pathlib import Path

from vramd_common.handshake import Failed, Ready

STDOUT, STDERR = 1, 2
"""Their descriptors, which native code writes to as well."""


class Host:
    """The program at the other end of stdout, which gets one line. The pipe stays open: its end is the supervisor's."""

    def __init__(self) -> None:
        """Called where sys.stdout is a stream that never waits. What else is written to stdout from now on is lost."""
        self._stdout, self._said = sys.stdout, False
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, STDOUT)
        sys.stdout = os.fdopen(nothing, "w", encoding="utf-8")

    def say(self, line: Ready | Failed) -> None:
        """Says the line; only the first one is said."""
        if not self._said and self._stdout:  # there is none under pythonw
            self._said = True
            self._stdout.write(line.line() + "\n")


def spare_stderr(file: Path) -> None:
    """Points the descriptor of stderr at a file: an unread pipe would stop the native code that writes to it.

    What Python writes to sys.stderr still goes to the pipe, and never waits.
    """
    # Without a file, or with it already, as a client's launcher has it, there is nothing to spare.
    with contextlib.suppress(OSError):
        into = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(into, STDERR)
        os.close(into)
