"""One worker process: its start, its hello, what it prints, its end in words. Knows pids and signals, no models.

Two daemon threads per process wait for what only blocking calls tell on every system: its output and its exit.
"""

import asyncio
import contextlib
import functools
import importlib.machinery
import importlib.util
import os
import secrets
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import psutil
from vramd_common.rendezvous import Hello, Orders

from ..domain.receipt import Exit
from ..threads.serial_calls import SerialCalls
from . import containment, huge_pages
from .breach import BreachError, check_hello
from .oom_kills import OOM_KILLS
from .worker_environment import worker_environment

HELLO_S = 15.0
"""A worker that has not said hello by then is ended. Python with its libraries takes 0.3 s, on a busy machine some."""
KILL_S = 10.0
"""A process that is killed and still there after this is in the hands of the kernel."""
EXIT_SEEN_S = 15.0
"""A process that is killed is seen to have ended milliseconds later, bounded by this."""
BROKEN_S = 3.0
"""A connection that breaks means a process that died; one that is there after this is killed."""
WORKING_FOLDER = Path(sys.executable).anchor
"""Working folder of every child, as it is never removed."""
OUTPUT_ENDS_S = 1.0
"""Within this the output of an ended process is read: its last words come before its exit."""
MOST_HELLO_BYTES = 64 * 1024
OWN_PACKAGES = ("vramd_worker", "vramd_proto", "vramd_common")


class HelloError(Exception):
    """A worker did not say hello, or said something else."""


@functools.cache
def import_paths() -> tuple[str, ...]:
    """Folders that this process imports from, in its order; not the current folder nor that of the script it runs.

    A worker runs isolated (`-I`), so it would find neither an install in the user site nor an editable one. Taken once,
    at the start: the current folder may be gone later.
    """
    own = [Path(spec.origin).parents[1] for name in OWN_PACKAGES if (spec := _spec(name)) and spec.origin]
    strange = {Path.cwd(), Path(sys.argv[0]).absolute().parent} - set(own)
    entries = [Path(entry).absolute() for entry in sys.path if entry]
    hidden = [path for path in own if path not in entries]
    return tuple(dict.fromkeys(str(path) for path in (*hidden, *entries) if path.is_dir() and path not in strange))


def _spec(name: str) -> "importlib.machinery.ModuleSpec | None":
    return importlib.util.find_spec(name)


@functools.cache
def worker_arguments(role: str) -> tuple[str, ...]:
    """How a process of the worker's package is started in this role."""
    spec = _spec("vramd_worker")
    assert spec and spec.origin
    return sys.executable, "-I", str(Path(spec.origin).with_name("boot.py")), role


def _parent(pid: int) -> int:
    """The process id of a process's parent; 0 if it is not there."""
    try:
        return psutil.Process(pid).ppid()
    except (psutil.Error, OverflowError, ValueError):
        return 0


class ChildProcess:
    """A child process. Made and used from the loop's thread."""

    def __init__(
        self,
        child: containment.Child,
        socket_dir: str,
        untested_engine: bool,
        on_output: Callable[[bytes], None],
        on_exit: Callable[[Exit, str], None],
    ) -> None:
        """Takes it over. Raises RuntimeError where there are no more threads; then there is no child.

        `on_output` gets what it prints, in a thread of its own, and nothing at the end; `on_exit` gets its end in
        words, once, in the loop's thread.
        """
        self.nonce = secrets.token_hex(16)
        self._socket_dir = socket_dir
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._on_exit = on_exit
        self._gone = asyncio.Event()
        self._asked = False
        self._ended_by_us = False
        """It was killed from here: that the kernel killed another one meanwhile says nothing of it."""
        self._output_ended = threading.Event()
        self._hello: asyncio.Future[bytes] = self._loop.create_future()
        self.child = child
        self._orders = Orders(import_paths(), os.getpid(), self.nonce, socket_dir, untested_engine)
        try:
            for work in (self._read_output, self._read_hello, self._wait):
                threading.Thread(target=work, name=f"{work.__name__}-{self.child.pid}", daemon=True).start()
        except BaseException:
            containment.discard(self.child)
            raise

    @property
    def pid(self) -> int:
        """Process id, valid until the exit was seen."""
        return self.child.pid

    @property
    def gone(self) -> bool:
        return self._gone.is_set()

    async def hello(self) -> Hello:
        """Its first words, checked. Raises HelloError; the process may then still be there."""
        try:
            line = await asyncio.wait_for(asyncio.shield(self._hello), HELLO_S)
            hello = Hello.parse(line)
        except asyncio.TimeoutError:
            raise HelloError(f"the worker did not say hello within {HELLO_S:g} s") from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise HelloError("the worker's first words were not a hello") from None
        try:
            return check_hello(hello, self.nonce, self.pid, self._socket_dir, _parent)
        except BreachError as error:
            raise HelloError(str(error)) from None

    async def exit_within(self, within_s: float) -> bool:
        """Waits for its exit to be seen; whether it was."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._gone.wait(), within_s)
        return self.gone

    async def stop(self, patience_s: float) -> None:
        """Asks it to go, waits, kills it and what it started, waits again; bounded. Harmless if it is gone."""
        if not self.gone:
            self._asked = True
            containment.ask(self.child)
            await self.exit_within(patience_s)
        await self.kill()

    def dump(self, interpreter_pid: int) -> bool:
        """Has it print what its threads do; whether this system can do so. Called only after its hello."""
        return not self.gone and interpreter_pid == self.pid and containment.dump(self.child)

    def kill_now(self) -> None:
        """Ends it without waiting. Harmless if it is gone."""
        if not self.gone:
            self._ended_by_us = True
            containment.kill(self.child)

    async def kill(self) -> None:
        """Ends it and waits, bounded."""
        if not self.gone:
            self.kill_now()
            await self.exit_within(KILL_S)

    def _read_output(self) -> None:
        assert self.child.stderr
        with self.child.stderr as stream:
            while data := os.read(stream.fileno(), 64 * 1024):
                self._on_output(data)
        self._on_output(b"")
        self._output_ended.set()

    def _read_hello(self) -> None:
        assert self.child.stdin
        assert self.child.stdout
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.write(self._orders.line())
        with self.child.stdout as stream:
            line = b""
            while b"\n" not in line and len(line) < MOST_HELLO_BYTES and (data := os.read(stream.fileno(), 4096)):
                line += data
        self._tell(self._heard, line)

    def _heard(self, line: bytes) -> None:
        if not self._hello.done():
            self._hello.set_result(line)

    def _wait(self) -> None:
        kills_before = OOM_KILLS.count()
        returncode = containment.wait(self.child)
        killed = containment.may_be_out_of_memory(returncode) and not self._ended_by_us
        out_of_memory = killed and OOM_KILLS.explain(kills_before)
        if self._socket_dir:
            # One that was killed leaves its socket there.
            with contextlib.suppress(OSError):
                for socket in Path(self._socket_dir).glob(f"{self.pid}.*"):
                    socket.unlink(missing_ok=True)
        self._output_ended.wait(OUTPUT_ENDS_S)
        self._tell(self._exited, returncode, out_of_memory)

    def _exited(self, returncode: int, out_of_memory: bool) -> None:
        if self.child.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.child.stdin.close()
        self._gone.set()
        how, words = containment.exit_of(returncode, asked=self._asked, out_of_memory=out_of_memory)
        self._on_exit(how, words)

    def _tell(self, what: Callable[..., None], *values: object) -> None:
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *values)


class Spawner(SerialCalls):
    """Serial calls whose thread, once begun, lives as long as this process: the children that it starts die with it."""

    def __init__(
        self, limit_s: float = HELLO_S, variables: Collection[str] = (), *, asks_for_huge_pages: bool = False
    ) -> None:
        """A start that takes longer than `limit_s` is one that hangs.

        `variables` are those that children get beyond the usual ones. `asks_for_huge_pages`: so they do
        where the kernel gives them.
        """
        super().__init__("the start of a process", limit_s)
        self._variables = variables
        self._asks_for_huge_pages = asks_for_huge_pages and huge_pages.given()
        self._turns = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    async def start(self, role: str, cwd: str) -> containment.Child:
        """A process of the worker's package. Raises NoAnswerError and what Popen raises; then there is none.

        A process that starts too late, or whose waiter was cancelled, is ended at once.
        """
        environment = worker_environment(os.environ, self._variables)
        if self._asks_for_huge_pages:
            environment = huge_pages.asking(environment)
        start = functools.partial(containment.start, worker_arguments(role), cwd, environment)
        return await self.run(start, late=containment.discard)

    def _take_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work_on, name="spawner", daemon=True)
            thread.start()
            self._thread = thread
        self._turns.release()

    def _work_on(self) -> None:
        while self._turns.acquire():
            self._work()
