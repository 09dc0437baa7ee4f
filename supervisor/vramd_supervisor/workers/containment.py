"""How a child process is started and ended on each system, so that none outlives its supervisor.

One seam. Linux and macOS: a session of its own, signals to its whole group. Windows: the supervisor puts itself into a
job that ends with it, children are born into that job; there is no gentle signal, so asking is closing the lifeline.
The worker does its part from its first statement on (see `vramd_worker.boot`).
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..domain.receipt import Exit

Child: TypeAlias = "subprocess.Popen[bytes]"

if sys.platform == "win32":
    _KILLED = -9
    _ABORTED, _LEAST_FAULT, _CTRL_C = 3, 0xC0000000, 0xC000013A
else:
    _KILLED = -signal.SIGKILL
    _FAULTS = {-one for one in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)}


def start(arguments: Sequence[str], cwd: str, environment: Mapping[str, str]) -> Child:
    """Starts a child with three pipes. Only from a thread that lives as long as the process. Raises OSError.

    The kernel's parent-death signal is tied to the thread that started the child.
    """
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment,
        start_new_session=sys.platform != "win32",
        creationflags=flags,
        bufsize=0,
    )


def ask(child: Child) -> None:
    """Asks a child to go; it may be gone already."""
    if sys.platform == "win32":
        if child.stdin:
            child.stdin.close()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
            os.kill(child.pid, signal.SIGCONT)


def dump(child: Child) -> bool:
    """Has a worker print the tracebacks of its threads, even if it is stopped; false where there is no such signal."""
    if sys.platform == "win32":
        return False
    else:  # noqa: RET505  the types of each system are checked apart
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGUSR1)
            os.kill(child.pid, signal.SIGCONT)
        return True


def kill(child: Child) -> None:
    """Ends a child and what it has started; works on stopped ones too. It may be gone already."""
    if sys.platform == "win32":
        child.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def wait(child: Child) -> int:
    """Waits until a child has ended, ends what it has left behind, and reaps it. Returns its return code.

    In this order: until it is reaped, its process id, which is also its group's, is nobody else's. (macOS has no such
    wait before Python 3.13; Windows has no groups, the job sees to it at the end.)
    """
    if sys.platform == "linux":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        kill(child)
    return child.wait()


def discard(child: Child) -> None:
    """Kills a child that no caller wants any more, and reaps it on a thread of its own. Does not wait."""
    kill(child)
    # Where there are no more threads, the start of the next child reaps it.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=wait, args=(child,), name=f"reap-{child.pid}", daemon=True).start()


def exit_of(returncode: int, *, asked: bool, out_of_memory: bool = False) -> tuple[Exit, str]:
    """How a process ended, and that as people say it; `asked`: to go, so that going is no news.

    `out_of_memory`: the kernel says that it killed it.
    """
    if asked and (sys.platform == "win32" or returncode in (0, -signal.SIGTERM)):
        return Exit.ENDED, "ended"
    if asked and returncode == _KILLED:
        return Exit.FORCED, "ended by force"
    if out_of_memory:
        return Exit.OUT_OF_MEMORY, "killed by the kernel, which had no memory left"
    how = Exit.CRASHED if by_own_fault(returncode) else Exit.DIED if returncode >= 0 else Exit.KILLED
    if returncode >= 0:
        return how, f"exited with code {returncode}"
    if sys.platform != "win32" and returncode == -signal.SIGBUS:
        return how, "killed by SIGBUS, as happens when a file that it has mapped is cut short"
    try:
        return how, f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return how, f"killed by signal {-returncode}"


def may_be_out_of_memory(returncode: int) -> bool:
    """Whether a process has ended as one does that the kernel kills for want of memory."""
    return sys.platform != "win32" and returncode == _KILLED


def by_own_fault(returncode: int) -> bool:
    """Whether a process has ended by a fault of its own: a failed assertion, or memory that is not there."""
    if sys.platform == "win32":
        code = returncode & 0xFFFFFFFF
        return code == _ABORTED or (code >= _LEAST_FAULT and code != _CTRL_C)
    else:  # noqa: RET505  the types of each system are checked apart
        return returncode in _FAULTS


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _KILL_ON_JOB_CLOSE = 0x2000
    _EXTENDED_LIMIT_INFORMATION = 9

    class _BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
            ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", _BasicLimits),
            ("IoInfo", ctypes.c_ulonglong * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    def contain() -> Callable[[], None]:
        """Puts this process into a job whose last handle it holds: when it is gone, the system ends all in the job.

        Called once, before the first child. Returns what to call at an orderly end. Raises OSError.
        """
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.CreateJobObjectW.restype = wintypes.HANDLE
        kernel32.GetCurrentProcess.restype = wintypes.HANDLE
        job = wintypes.HANDLE(kernel32.CreateJobObjectW(None, None))
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        process = wintypes.HANDLE(kernel32.GetCurrentProcess())
        if not (
            job.value
            and kernel32.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size)
            and kernel32.AssignProcessToJobObject(job, process)
        ):
            raise ctypes.WinError(ctypes.get_last_error())

        def leave() -> None:
            """Takes the deadly limit back, so that closing the handle at exit does not end this process itself."""
            limits.BasicLimitInformation.LimitFlags = 0
            kernel32.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size)

        return leave

else:

    def contain() -> Callable[[], None]:
        """Nothing to do on this system: a worker sees to it itself. Returns what to call at an orderly end."""
        return lambda: None
