"""Programs of tests, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def python(
    *arguments: str, added: Mapping[str, str] | None = None, cwd: Path | None = None, bound_s: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Runs Python, with this environment and what is added to it."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **(added or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=bound_s,
        check=False,
    )
