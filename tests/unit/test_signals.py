"""Signals that come before anybody can hear them."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, time
from vramd_supervisor import signals
signal.signal(signal.SIGHUP, signal.SIG_IGN if "ignored" in sys.argv else signal.SIG_DFL)  # nohup may have ignored it
signals.leave_orderly()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
    print("goes on")
finally:
    print("gives back")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(
    ("number", "said", "code"),
    [(("15",), "gives back", 143), (("1",), "gives back", 129), (("1", "ignored"), "goes on\ngives back", 0)],
)
def test_an_early_signal_ends_in_order(number: tuple[str, ...], said: str, code: int) -> None:
    command = [sys.executable, "-c", PROGRAM, *number]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (said, code)
