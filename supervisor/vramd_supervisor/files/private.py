"""Keeps what the supervisor writes to its user alone: folders 0700, files 0600, whatever the umask of the start."""

import contextlib
import os
import stat
import sys
from pathlib import Path

if sys.platform == "win32":

    def write_for_owner_only() -> None:
        """Windows has no umask worth the name: the folders lie in the user's profile, which is closed to others."""

    def write_no_core_file() -> None:
        """Windows writes none."""

    def tighten(path: Path) -> None:
        """As above: the profile is closed to others."""

else:
    import resource

    def write_for_owner_only() -> None:
        """Makes all that this process and its children create readable by its user only."""
        os.umask(0o077)

    def write_no_core_file() -> None:
        """Forbids this process and its children core files: its memory has tokens, prompts and answers."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def tighten(path: Path) -> None:
        """Closes a file or folder of an earlier start to other users; one that another user owns is left alone.

        Its user keeps the rights that there were, and gets no more. A folder that all users share, such as /tmp, is
        left alone too.
        """
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
                return
            if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
