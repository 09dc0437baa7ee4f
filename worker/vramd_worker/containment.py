"""Limits what a worker takes from the machine, on every system as far as it can. Standard library only."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

NICENESS = 5
"""Below the programs that the user looks at. On Windows the supervisor starts workers below normal priority instead."""

OUT_OF_MEMORY_SCORE = 500
"""Added to the kernel's badness score, so that it kills workers before the application."""

PR_SET_NO_NEW_PRIVS = 38
SEM_FAILCRITICALERRORS = 1
SEM_NOGPFAULTERRORBOX = 2


def step_back() -> None:
    """Lowers priority and forbids core files as large as the model, new privileges, and dialogs after a crash."""
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX)
    else:
        import resource  # noqa: PLC0415  Windows has no such module

        os.umask(0o077)
        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # A new session gets a scheduling group to itself, and niceness counts only inside the group.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), "ascii")
        # Some containers refuse it. The kernel then chooses by size alone, which hits workers first anyway.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE), "ascii")


def take_stdout() -> int:
    """Sends all further prints to stderr; returns a descriptor of the original stdout, for the hello only."""
    original = os.dup(1)
    os.dup2(2, 1)
    return original
