"""The end of a supervisor is bounded, whatever hangs."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from vramd_supervisor.watchdog import CUT_OFF, RELEASE_S, Watchdog, end_s

BOUND_S = 30.0


def test_the_earliest_moment_counts() -> None:
    codes: list[int] = []
    cut = threading.Event()

    def cut_off(code: int) -> None:
        codes.append(code)
        cut.set()

    watchdog = Watchdog(cut_off)
    watchdog.arm(10 * BOUND_S)
    watchdog.arm(0.01)
    watchdog.arm(10 * BOUND_S)
    assert cut.wait(BOUND_S)
    assert codes == [CUT_OFF]


def test_an_end_in_order_has_its_time() -> None:
    """The memory of a process that cannot be killed is waited for."""
    assert end_s(30.0) > 30.0 + RELEASE_S


HANGING = """
    import os, sys
    from pathlib import Path
    from vramd_supervisor import main, server, watchdog
    from vramd_supervisor.settings.settings_file import Flags
    armed, arm = [], watchdog.Watchdog.arm
    watchdog.Watchdog.arm = lambda self, within_s: armed.append(self)

    def hang(self):
        os.write(1, b"hangs")
        for dog in armed:  # its time begins here, however long it took to come to this
            arm(dog, 0.5)
        while True:
            pass

    server.Workers.kill_all = hang
    sys.exit(main.run(None, Flags(port=0), Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a SIGTERM")
def test_an_event_loop_that_hangs_at_the_end_is_cut_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("w") / "run"
    command = [sys.executable, "-c", textwrap.dedent(HANGING), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            assert "listens on" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND_S) == CUT_OFF
            assert "hangs" in process.stdout.read()
        finally:
            process.kill()


OWNED = """
    import sys, time
    from pathlib import Path
    from vramd_supervisor import main, server
    from vramd_supervisor.owner import Lifeline
    from vramd_supervisor.settings.settings_file import Flags
    server.owner_end_s = lambda grace_s: 0.5

    def hang(*_):
        print("hangs", flush=True)
        while True:
            time.sleep(1)

    server._open = hang
    sys.exit(main.run(None, Flags(port=0), Path(sys.argv[1]), lifeline=Lifeline()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="never run on Windows")
def test_an_event_loop_that_hangs_does_not_outlive_the_owner(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("w") / "run"
    command = [sys.executable, "-c", textwrap.dedent(OWNED), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdin
            assert "hangs" in process.stdout.readline()
            process.stdin.close()
            assert process.wait(BOUND_S) == CUT_OFF
        finally:
            process.kill()
