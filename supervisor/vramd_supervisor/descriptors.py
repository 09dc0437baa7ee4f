"""How many files and connections this process may have open at once."""

import contextlib
import sys

if sys.platform != "win32":
    import resource

WANTED = 8192


def raise_limit() -> int:
    """Takes what the system allows beyond its default, which is small; returns how many there may be now."""
    if sys.platform == "win32":
        return WANTED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < WANTED:
        wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower bound of its own, which it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft
