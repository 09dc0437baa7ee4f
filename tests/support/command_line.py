"""The command line for tests: in this process by the fixture `shell`, or as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.fake_supervisor import BOUND_S, Wait

Shell = Callable[..., Result]

LIMIT_S = 60
"""No command takes this long, unless it hangs."""

CONSOLE = (sys.executable, "-c", "from vramd_cli.console import main; main()")
SPAWN = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
TERMINAL = ("env", "COLUMNS=80", "LINES=24", "TERM=xterm", sys.executable, "-c", SPAWN)
"""Before a command, gives it a terminal."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's, without settings of vramd but for the runtime folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VRAMD_", "COV_"))}
    return {**kept, "VRAMD_RUNTIME_DIR": str(folder), **more}


def run(
    folder: Path, *command: str, cwd: Path | None = None, stdin: str | None = None, **more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=cwd,
        env=environment(folder, **more),
        check=False,
    )


def started(folder: Path, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*CONSOLE, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(folder)
    )


def interrupted(process: "subprocess.Popen[bytes]", wait: Wait) -> tuple[bytes, bytes]:
    """Presses Ctrl-C when the call has come to `wait`, checks that both end, and returns what was printed then."""
    assert wait.reached.wait(LIMIT_S)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert wait.left.wait(BOUND_S)
    return printed
