"""How the end of a process is told: a value, and words."""

import signal
import subprocess
import sys

import psutil
import pytest
from support.supervisor_process import until
from vramd_supervisor.domain.receipt import Exit
from vramd_supervisor.workers.containment import discard, exit_of

KILL = 9

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to tell of")


@pytest.mark.parametrize(
    ("returncode", "asked", "told"),
    [
        (0, True, (Exit.ENDED, "ended")),
        (-signal.SIGTERM, True, (Exit.ENDED, "ended")),
        (-KILL, True, (Exit.FORCED, "ended by force")),
        (-signal.SIGSEGV, True, (Exit.DIED, "killed by SIGSEGV")),
        (0, False, (Exit.DIED, "exited with code 0")),
        (3, False, (Exit.DIED, "exited with code 3")),
        (-KILL, False, (Exit.DIED, "killed by SIGKILL")),
        (-signal.SIGTERM, False, (Exit.DIED, "killed by SIGTERM")),
        (-200, False, (Exit.DIED, "killed by signal 200")),
    ],
)
def test_an_end(returncode: int, asked: bool, told: tuple[Exit, str]) -> None:
    assert exit_of(returncode, asked=asked) == told


def test_a_discarded_child_leaves_no_zombie() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        discard(child)
        until("it is reaped", lambda: not psutil.pid_exists(child.pid))
