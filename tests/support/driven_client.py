"""The client for event loops behind the methods of the blocking one, so that one test can be run with both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import vramd
from support.fake_supervisor import BOUND_S


class Naps:
    """Stands in for the sleep of a client: notes the seconds and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def asleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Driven:
    """An object of the asynchronous client. What it would have its caller await runs to its end, in a loop's thread."""

    def __init__(self, driven: object, loop: asyncio.AbstractEventLoop) -> None:
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

    def __iter__(self) -> Driven:
        return self

    def __next__(self) -> Any:
        async def step() -> tuple[object, ...]:
            """A coroutine may not raise what ends an iteration."""
            return (await anext(cast(Any, self._driven)),)

        try:
            return self._run(step)[0]
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Driven:
        self._run(cast(Any, self._driven).__aenter__)
        return self

    def __exit__(self, *ending: object) -> None:
        self._run(lambda: cast(Any, self._driven).__aexit__(*ending))


@contextmanager
def driven(client: vramd.AsyncClient) -> Iterator[vramd.Client]:
    """Closes the client and ends its event loop with the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        with Driven(client, loop) as face:
            yield cast(vramd.Client, face)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND_S)
        loop.close()
