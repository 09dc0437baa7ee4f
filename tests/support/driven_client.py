"""The client for event loops behind the methods of the blocking one, so that one test can be run with both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import vramd
from support.fake_supervisor import BOUND_S

Connect = Callable[..., vramd.Client]
"""Makes a client of one of the two kinds, from the arguments of the blocking one."""


class Naps:
    """Stands in for the sleep of a client: notes the seconds and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Driven:
    """An object of the asynchronous client. What it would have its caller await runs to its end, in a loop's thread."""

    def __init__(self, driven: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._driven = driven
        self._loop = loop

    def _run(self, ask: Callable[[], object]) -> Any:
        async def run() -> object:
            found = ask()
            return await found if inspect.iscoroutine(found) else found

        found = asyncio.run_coroutine_threadsafe(run(), self._loop).result(2 * BOUND_S)
        if inspect.ismethod(found):
            return lambda *given, **named: self._run(lambda: found(*given, **named))
        own = isinstance(found, vramd.AsyncStream | vramd.AsyncFeed | vramd.AsyncHold)
        return Driven(found, self._loop) if own else found

    def __getattr__(self, name: str) -> Any:
        return self._run(lambda: getattr(self._driven, name))

    def __repr__(self) -> str:
        return repr(self._driven).replace("vramd.Async", "vramd.")

    def __iter__(self) -> Driven:
        return self

    def __next__(self) -> Any:
        async def step() -> object:
            try:
                return await anext(self._driven)
            except StopAsyncIteration:
                return StopIteration

        if (found := self._run(step)) is StopIteration:
            raise StopIteration
        return found

    def __enter__(self) -> Driven:
        self._run(self._driven.__aenter__)
        return self

    def __exit__(self, *ending: object) -> None:
        self._run(lambda: self._driven.__aexit__(*ending))


class DrivenClient(Driven):
    """Has an event loop in a thread, from its making to its close."""

    def __init__(self, *place: Any, sleep: Callable[[float], object] | None = None, **settings: Any) -> None:
        async def asleep(seconds: float) -> None:
            assert sleep is not None
            sleep(seconds)

        if sleep is not None:
            settings["sleep"] = asleep
        super().__init__(vramd.AsyncClient(*place, **settings), asyncio.new_event_loop())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._run(self._driven.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()

    def __exit__(self, *_: object) -> None:
        self.close()
