"""What a worker takes from the machine and from its supervisor: little, and last. Only the standard library here.

One seam for all systems; what a system lacks is left out.
"""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

NICENESS = 5
"""Below the programs that the user looks at. On Windows the supervisor starts workers below normal priority instead."""

OUT_OF_MEMORY_SCORE = 500
"""Added to the kernel's choice of whom to kill: workers go before the application."""

PR_SET_NO_NEW_PRIVS = 38
SEM_FAILCRITICALERRORS = 1
SEM_NOGPFAULTERRORBOX = 2


def step_back() -> None:
    """Low priority, no core files of the size of a model, no new rights, no dialogs after a crash."""
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX)
    else:
        import resource  # noqa: PLC0415  Windows has no such module

        os.umask(0o077)
        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # A session of its own has a scheduling group of its own, inside which alone the niceness counts.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), "ascii")
        # Some containers refuse it. Then the kernel chooses by size alone, which hits workers first anyway.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE), "ascii")


def take_stdout() -> int:
    """A descriptor of the original stdout, for the hello alone. What is printed from now on goes to stderr."""
    original = os.dup(1)
    os.dup2(2, 1)
    return original
