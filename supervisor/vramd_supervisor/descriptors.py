"""How many files and connections this process may have open at once."""

import contextlib
import sys

WANTED = 8192

if sys.platform == "win32":

    def raise_limit() -> int:
        """Windows has no limit worth the name; returns how many are to be counted on."""
        return WANTED

else:
    import resource

    def raise_limit() -> int:
        """Takes what the system allows beyond its default, which is small; returns how many there may be now."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if resource.RLIM_INFINITY != soft < WANTED:
            wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
            with contextlib.suppress(OSError, ValueError):  # macOS has a lower bound of its own, which it does not tell
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return wanted
        return WANTED if soft == resource.RLIM_INFINITY else soft
