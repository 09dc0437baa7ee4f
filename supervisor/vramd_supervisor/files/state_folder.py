"""Where what outlives a supervisor is kept."""

import os
from pathlib import Path

from platformdirs import user_state_dir
from vramd_common.rendezvous import system_runtime_dir


def state_folder() -> Path:
    """For all supervisors of this user: what past loads have taught. `VRAMD_STATE_DIR` names another."""
    return Path(os.environ.get("VRAMD_STATE_DIR") or user_state_dir("vramd", appauthor=False)).absolute()


def journal_folder(runtime: Path) -> Path:
    """For decisions: a supervisor with a runtime folder of its own has them there, not among others'."""
    if os.environ.get("VRAMD_STATE_DIR") or runtime == system_runtime_dir():
        return state_folder()
    return runtime
