"""Watches the program that this supervisor belongs to (`vramd serve --lifeline`), from its first moment on.

On Linux the end of a process is seen by a pidfd, on macOS by a kqueue, on Windows by its handle; elsewhere it is looked
for. Only Linux was ever tried.
"""

import asyncio
import contextlib
import errno
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from .watchdog import Watchdog, owner_end_s

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between two looks, where nothing tells of a process's end."""
LOOK_AGAIN_S = 30.0
"""Between two looks where something does."""


@dataclass(frozen=True)
class Lifeline:
    """What ties a supervisor to its owner."""

    pid: int | None = None
    """A process whose end is the supervisor's; None: the end of stdin is."""

    @classmethod
    def parse(cls, text: str) -> "Lifeline":
        """Reads `stdin` or `pid:N`. Raises ValueError."""
        if text == "stdin":
            return cls()
        kind, _, number = text.partition(":")
        if kind == "pid" and number.isascii() and number.isdigit() and int(number) > 0:
            return cls(int(number))
        raise ValueError(f"{text!r} is no lifeline: stdin, or pid:N with the id of a process")


class OwnerGoneError(Exception):
    """There is no owner to belong to; the text says why."""


class Owner:
    """The watch over an owner. Its end before the supervisor listens is taken for a SIGTERM."""

    def __init__(self, lifeline: Lifeline) -> None:
        """Leaves the owner's process group, so that a Ctrl-C there is the owner's to handle. Raises OwnerGoneError.

        For the main thread. Windows has no such groups: there Ctrl-C is ignored from now on.
        """
        self._gone = threading.Event()
        self._on_gone: Callable[[], object] = _end_as_by_signal
        self._once = threading.Lock()
        watch = _stdin() if lifeline.pid is None else _process(lifeline.pid)
        if sys.platform == "win32":
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it shares the owner's console
        else:
            with contextlib.suppress(PermissionError):  # it leads a group already, as a job of a shell does
                os.setsid()
        threading.Thread(target=self._wait, args=(watch,), name="owner", daemon=True).start()

    def hear(
        self, event_loop: asyncio.AbstractEventLoop, on_gone: Callable[[], object], bound: Callable[[], object]
    ) -> None:
        """From now on calls `on_gone` in the loop's thread, once; at once if the owner is gone already.

        Before it `bound` is called in the owner's thread, which goes on even if the loop hangs.
        """

        def tell() -> None:
            bound()
            event_loop.call_soon_threadsafe(on_gone)

        with self._once:
            self._on_gone = tell
            if self._gone.is_set():
                tell()

    def _wait(self, watch: Callable[[], None]) -> None:
        try:
            watch()
        except Exception:
            log.exception("the owner cannot be watched any longer: it counts as gone")
        with self._once:
            self._gone.set()
            with contextlib.suppress(RuntimeError):  # the loop is closed: the supervisor has ended by itself
                self._on_gone()


def _end_as_by_signal() -> None:
    Watchdog().arm(owner_end_s(0.0))
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)  # os.kill would end the process at once
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def _stdin() -> Callable[[], None]:
    """Waits for the end of stdin or, on Linux, of the parent: a child that it forked may hold the pipe and live on.

    Raises OwnerGoneError if stdin was closed from the start; another file may have its descriptor since.
    """
    try:
        if sys.__stdin__ is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        line = os.dup(0)
    except OSError as error:
        raise OwnerGoneError(f"stdin is not open ({error.strerror}): there is no owner at its other end") from error
    # No child may inherit it; and on Windows a descriptor that a thread waits on blocks whoever asks for its kind.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    watched = [line]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel, or the parent is gone already: stdin has to do
            watched.append(os.pidfd_open(os.getppid()))

    def wait() -> None:
        while line in _readable(watched):
            try:
                if not os.read(line, 4096):
                    return
            except BlockingIOError:
                continue
            except OSError:  # as of a terminal whose other side is gone
                return

    return wait


def _readable(watched: Sequence[int], limit_s: float | None = None) -> list[int]:
    """Waits for descriptors that can be read or have ended, and returns them; all at once on Windows."""
    if sys.platform == "win32":
        return [*watched]
    else:  # noqa: RET505  the types of each system are checked apart
        poll = select.poll()  # unlike `select`, it takes descriptors from 1024 on
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(None if limit_s is None else limit_s * 1000)]


def _process(pid: int) -> Callable[[], None]:
    """Waits for the end of a process, told by its start time from a later one of the same id. Raises OwnerGoneError."""
    try:
        owner = psutil.Process(pid)
        if owner.create_time() > psutil.Process().create_time():
            raise OwnerGoneError(
                f"process {pid} began after this one: the owner is gone, and its id has another holder"
            )
        pause = _until_end(owner)
    except (psutil.NoSuchProcess, ProcessLookupError):
        raise OwnerGoneError(f"there is no process {pid}: the owner is gone") from None
    except (psutil.AccessDenied, PermissionError) as error:
        raise OwnerGoneError(f"process {pid} may not be watched: {error}") from error

    def wait() -> None:
        while _lives(owner):
            pause()

    return wait


def _until_end(owner: psutil.Process) -> Callable[[], object]:
    """Makes what waits for the end of a process, or for a while. Raises ProcessLookupError."""
    if sys.platform == "win32":

        def wait() -> None:
            with contextlib.suppress(psutil.TimeoutExpired):
                owner.wait(LOOK_AGAIN_S)

        return wait
    elif sys.platform == "darwin":  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        queue = select.kqueue()
        event = select.kevent(owner.pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([event], 0)
        return lambda: queue.control([], 1, LOOK_AGAIN_S)
    else:
        if sys.platform == "linux":
            try:
                ends = os.pidfd_open(owner.pid)
                return lambda: _readable([ends], LOOK_AGAIN_S)
            except ProcessLookupError:
                raise
            except OSError:  # an old kernel, or a sandbox
                pass
        return _pause


def _pause() -> None:
    time.sleep(LOOK_S)


def _lives(process: psutil.Process) -> bool:
    """Whether this very process runs; a zombie only waits to be fetched."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is there, and became another user's
        return True
