"""The door of the command line. Small on purpose: what it imports must be there in the barest installation."""

import os
import sys
from pathlib import Path

from . import INTERRUPTED

NEEDS_SERVER = "this command needs: pip install 'vramd[server]'"

SERVER_MODULES = frozenset({"cattrs", "click", "filelock", "grpc_health", "grpc_reflection", "psutil", "rich", "tomli"})
"""What the extra installs and a client alone does not have."""


def leave_current_folder(path: list[str], current: Path) -> None:
    """Takes the current folder out of the import path, so that what lies in it shadows nothing.

    It gets there by `python -m`, or by an empty entry of PYTHONPATH: before the standard library. What stands behind
    the standard library was installed there, even if the user happens to be in that folder now.
    """
    standard = str(Path(os.__file__).parent)
    border = path.index(standard) if standard in path else len(path)
    path[:border] = [entry for entry in path[:border] if entry not in ("", ".") and Path(entry) != current]


def main() -> None:
    """Runs the command that the arguments name; ends the process. Called by the console script `vramd`."""
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
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
