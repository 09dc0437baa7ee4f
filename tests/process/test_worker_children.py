"""A worker starts no processes; where a system lets it, they end with its group, whatever ends the worker."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import vramd_worker
from support.supervisor_process import SupervisorProcess, simulated, until
from vramd_supervisor.workers import containment
from vramd_worker.childless import PROCESSORS

FORBIDS = sys.platform == "linux" and platform.machine() in PROCESSORS
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
WITHIN_S = 1.0

TRIES = """
import ctypes, json, os, subprocess, sys, threading
sys.path.insert(0, {folder!r})
from vramd_worker.childless import forbid_children
said = {{"forbids": forbid_children()}}
def try_it(name, call):
    try:
        call()
        said[name] = "done"
    except OSError as error:
        said[name] = error.strerror
    except Exception as error:
        said[name] = repr(error)
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
def clone():
    pid = ctypes.CDLL(None, use_errno=True).syscall({clone}, 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try_it("a program", lambda: subprocess.run(["true"], **quiet))
try_it("a shell", lambda: subprocess.run("true", shell=True, **quiet))
try_it("fork", lambda: os.fork() or os._exit(0))
try_it("clone", clone)
try_it("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {{}}))
try_it("another program in its place", lambda: os.execv("/bin/echo", ["echo", "replaced"]))
thread = threading.Thread(target=try_it, args=("from a thread", lambda: subprocess.run(["true"], **quiet)))
thread.start()
thread.join()
print(json.dumps(said))
"""

LEAVES_A_CHILD = """
import os, subprocess, sys, time
sys.path.insert(0, {folder!r})
from vramd_worker import lifeline
lifeline.hold(os.getppid(), alone=False)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
{then}
"""
FOLDER = str(Path(vramd_worker.__path__[0]).parent)


def has_ended(process: psutil.Process) -> bool:
    """Whether it has, though perhaps nobody has fetched its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(not FORBIDS, reason="the filter is Linux's")
@pytest.mark.unprivileged
def test_nothing_that_starts_a_process_or_a_program_is_let_through() -> None:
    clone = PROCESSORS[platform.machine()].clone
    code = TRIES.format(folder=FOLDER, clone=clone)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    said = json.loads(done.stdout)
    assert said.pop("forbids")
    assert set(said.values()) == {"Operation not permitted"}
    assert len(said) == 7


@pytest.mark.skipif(not FORBIDS, reason="the filter is Linux's")
@pytest.mark.unprivileged
def test_a_killed_supervisor_leaves_nothing_of_a_worker_that_wants_children() -> None:
    with SupervisorProcess(simulated("parent", card="", manners=["grandchild"])) as supervisor:
        client = supervisor.client()
        worker = psutil.Process(client.load("parent").pid)
        until("it was refused", lambda: any("simulated: no child" in line for line in client.logs("parent")))
        assert worker.children() == []
        left = supervisor.workers()
        supervisor.process.kill()
        until("they are gone", lambda: all(map(has_ended, left)), WITHIN_S)


@POSIX
@pytest.mark.parametrize("ends", ["by itself", "with its lifeline"])
@pytest.mark.unprivileged
def test_children_end_with_the_group(ends: str) -> None:
    then = "os._exit(0)" if ends == "by itself" else "time.sleep(60)"
    code = LEAVES_A_CHILD.format(folder=FOLDER, then=then)
    child = containment.start([sys.executable, "-I", "-c", code], "/", os.environ)
    assert child.stdout
    assert child.stdin
    assert child.stderr
    grandchild = psutil.Process(int(child.stdout.readline()))
    if ends == "by itself":
        # The supervisor sees to it, as long as it lives.
        assert containment.wait(child) == 0
    else:
        # This process has not the supervisor's part here: the worker's own lifeline has to do it.
        child.stdin.close()
    until("it is gone", lambda: has_ended(grandchild), WITHIN_S)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        pipe.close()
