"""How a supervisor that a program has started is ended."""

import subprocess
import sys

import psutil
import pytest
from vramd import launching

BOUND_S = 30.0

DEAF = "import os, signal, time; os.setsid(); signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); "
DEAF += "time.sleep(60)"
WRAPPER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {DEAF!r}])"


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_supervisor_ends_though_it_has_left_its_wrappers_session() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRAPPER], stdout=subprocess.PIPE, bufsize=0, start_new_session=True
    ) as process:
        assert process.stdout
        supervisor = psutil.Process(int(process.stdout.readline()))
        try:
            launching.end(process, 0.2, launching.Wrapped(supervisor.pid))
            supervisor.wait(BOUND_S)
        finally:
            process.kill()
            if supervisor.is_running():
                supervisor.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_later_process_with_its_id_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        wrapped = launching.Wrapped(other.pid)
        assert wrapped.send(0)
        monkeypatch.setattr("psutil.Process.create_time", lambda _: 0.0)
        assert not wrapped.send(9)
        assert other.poll() is None
