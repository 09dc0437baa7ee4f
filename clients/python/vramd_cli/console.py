"""The entry point `vramd`. It imports only what the barest installation has, so that it can name a missing extra."""

import os
import sys
from pathlib import Path

from . import INTERRUPTED

NEEDS_SERVER = "this command needs: pip install 'vramd[server]'"

SERVER_MODULES = frozenset({"cattrs", "click", "filelock", "grpc_health", "grpc_reflection", "psutil", "rich", "tomli"})
"""Modules of the extra `server`, which a client alone does not have."""


def leave_current_folder(path: list[str], current: Path) -> None:
    """Removes the current folder from the import path, so that files in it shadow no module.

    `python -m` and an empty entry of PYTHONPATH put it before the standard library. Entries behind the standard library
    are installations, even if one of them happens to be the current folder.
    """
    standard = str(Path(os.__file__).parent)
    border = path.index(standard) if standard in path else len(path)
    path[:border] = [entry for entry in path[:border] if entry not in ("", ".") and Path(entry) != current]


def main() -> None:
    """Runs the command and ends the process. Called by the console script `vramd` and by `python -m vramd`."""
    try:
        current = Path.cwd()
    except FileNotFoundError:  # the folder was deleted under the shell: nothing can be imported from it
        current = Path()
    leave_current_folder(sys.path, current)
    for stream in (sys.stdout, sys.stderr):
        # An answer may have characters that the terminal's encoding lacks: better a "?" than no answer.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")
    try:
        from .main import vramd

        vramd.main(prog_name="vramd")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in SERVER_MODULES:
            raise
        sys.stderr.write(f"vramd: {NEEDS_SERVER}\n")
        if any(word == "--owned" or word.startswith("--handshake") for word in sys.argv[1:]):
            from vramd_common.handshake import Failed

            sys.stdout.write(f"{Failed(1, NEEDS_SERVER).line()}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
