"""The helper process that asks llama.cpp what a load would take, without loading it.

One question at a time, in JSON lines. It parses what was made of strangers' files natively, so it may die or hang; then
it is started anew for the next question. It makes no context of a driver. When nobody asks for a while it leaves.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from vramd_proto.v1.rendezvous import Orders

from ..devices.backend import BackendDevice
from ..threads.lane import Lane, NoAnswerError
from . import containment
from .containment import Child
from .process import import_paths, worker_arguments

log = logging.getLogger(__name__)

START_S = 15.0
ANSWER_S = 10.0
"""A dry run takes milliseconds; a large model on a busy machine some more."""
IDLE_S = 30.0
"""Without a question for so long the process ends; the next one pays for its start again."""
REAP_S = 5.0
"""A process that is killed and still there after this is in the hands of the kernel."""
_MOST_ANSWER_BYTES = 1 << 20


class QuoterError(Exception):
    """There is no answer: the helper cannot be used, died, hung, or llama.cpp refused; the text says which."""


class Quoter:
    """Starts the helper when it is needed. For the loop's thread."""

    def __init__(self, cwd: str, untested_engine: bool) -> None:
        self._cwd = cwd
        self._untested_engine = untested_engine
        self._child: Child | None = None
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None
        self._reaper: threading.Thread | None = None
        self.problem = ""
        """Why the helper of this installation cannot be used at all; empty while it can."""

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._child.pid if self._child else None

    async def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        """One question, one answer. Raises QuoterError. Waits for those asked before it."""
        async with self._turn:
            if self.problem:
                raise QuoterError(self.problem)
            if self._idle:
                self._idle.cancel()
            try:
                return await self._exchange(question)
            finally:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def devices(self) -> list[BackendDevice]:
        """The devices that llama.cpp's backends tell of. Blocks as long as `ask` waits; not for the loop's thread."""
        answer = asyncio.run_coroutine_threadsafe(self.ask({"devices": True}), self._loop).result()
        return [
            BackendDevice(
                str(told["name"]),
                str(told["description"]),
                str(told["type"]),
                int(told["total_bytes"]),
                int(told["free_bytes"]),
                str(told["id"]),
            )
            for told in answer["devices"]
        ]

    async def _exchange(self, question: Mapping[str, object]) -> dict[str, Any]:
        child = self._child or await self._start()
        answer = await self._within(ANSWER_S, lambda: _asked(child, question), "it gave no answer")
        if problem := answer.get("problem"):
            raise QuoterError(f"llama.cpp cannot tell: {problem}")
        return answer

    async def _start(self) -> Child:
        try:
            child = self._child = containment.start(worker_arguments("vramd_quoter"), self._cwd)
            threading.Thread(target=_drain, args=(child,), name=f"quoter-{child.pid}", daemon=True).start()
        except (OSError, RuntimeError) as error:  # no file, no memory, no thread
            self.close()
            raise QuoterError(f"the helper could not be started: {error}") from error
        orders = Orders(import_paths(), os.getpid(), secrets.token_hex(16), "", self._untested_engine)
        hello = await self._within(START_S, lambda: _greeted(child, orders), "it did not start")
        if not hello.get("ready"):
            self.problem = str(hello.get("problem") or "the helper did not say why")
            self.close()
            log.warning("memory is estimated, not asked of llama.cpp: %s", self.problem)
            raise QuoterError(self.problem)
        return child

    async def _within(self, limit_s: float, exchange: Callable[[], dict[str, Any]], failed: str) -> dict[str, Any]:
        """Ends the process if the answer is late, or is none: then it cannot be trusted with the next one either."""
        try:
            # A lane of its own: an answer that hangs ends with its process.
            return await Lane("the helper", limit_s).run(exchange)
        except NoAnswerError as error:
            self.close()
            raise QuoterError(f"{failed}: {error}") from None
        except (OSError, ValueError) as error:
            self.close()
            raise QuoterError(f"{failed}: {error}") from error
        except BaseException:
            self.close()
            raise

    async def end(self) -> None:
        """Ends the process, and waits until it is gone."""
        self.close()
        if self._reaper:
            with contextlib.suppress(NoAnswerError):
                await Lane("the helper's end", REAP_S).run(self._reaper.join)

    def close(self) -> None:
        """Ends the process, if there is one. Harmless to repeat."""
        child, self._child = self._child, None
        if self._idle:
            self._idle.cancel()
        if child:
            containment.kill(child)
            reaper = threading.Thread(target=_reap, args=(child,), name=f"reap-{child.pid}", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: it is reaped with the start of the next child
                reaper.start()
                self._reaper = reaper


def _greeted(child: Child, orders: Orders) -> dict[str, Any]:
    assert child.stdin
    child.stdin.write(orders.line())
    return _answer(child)


def _asked(child: Child, question: Mapping[str, object]) -> dict[str, Any]:
    assert child.stdin
    child.stdin.write(json.dumps(question).encode() + b"\n")
    return _answer(child)


def _answer(child: Child) -> dict[str, Any]:
    """Blocks. Raises ValueError for what is no answer."""
    assert child.stdout
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(child.stdout.fileno(), 65536)
        line += data
        if not data or len(line) > _MOST_ANSWER_BYTES:
            raise ValueError("the helper has ended" if not data else "the helper does not stop talking")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the helper's answer is no object")
    return answer


def _drain(child: Child) -> None:
    """What it prints must not fill the pipe; it is of interest only when something is wrong."""
    assert child.stderr
    with child.stderr as stream:
        for line in stream:
            log.debug("quoter: %s", line.decode("utf-8", "replace").rstrip())


def _reap(child: Child) -> None:
    containment.wait(child)
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
