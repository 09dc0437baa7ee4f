"""A supervisor as an object, for programs with an event loop: `Client`, with `await` before what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar

from vramd import calls, values
from vramd.announcing import AsyncAnnouncing
from vramd.answer_values import Embeddings
from vramd.async_connection import AsyncConnection
from vramd.async_stream import AsyncReceiving, AsyncStream
from vramd.calls import Call
from vramd.errors import VramdError
from vramd.explaining import AsyncExplaining
from vramd.finding import PathLike, Search
from vramd.holding import AsyncHolding
from vramd.planning import AsyncPlanning
from vramd.requests import AnswerSettings, AskSettings, LoadSettings, Messages
from vramd.retry import Attempts
from vramd.scheduling_values import Waiting
from vramd.selecting import AsyncSelecting
from vramd.watching import AsyncWatching

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from vramd.replies import Piece

Value = TypeVar("Value")


class AsyncClient(AsyncAnnouncing, AsyncExplaining, AsyncHolding, AsyncPlanning, AsyncSelecting, AsyncWatching):
    """Calls to one supervisor from one event loop. Use it in an `async with` block, or `await close()`.

    Everything is as in `Client`, where each method is described, but for two things: what waits there is awaited here,
    and cancelling the task that awaits ends the call. It belongs to the loop of its first call; when that loop is
    closed, to the next one that calls.

    >>> async with vramd.AsyncClient() as client:
    ...     await client.chat("talker", "Say hello.").text
    'Hello, you.'
    """

    def __init__(
        self,
        runtime_dir: PathLike | None = None,
        *,
        address: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
        timeout_s: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._connection = AsyncConnection(Search(runtime_dir, address, token, token_file), sleep)

    def __repr__(self) -> str:
        return f"<vramd.AsyncClient of {self.address}{', closed' if self._connection.is_closed else ''}>"

    @property
    def address(self) -> str:
        """host:port of the supervisor.

        >>> client.address.startswith("127.0.0.1:")
        True
        """
        return self._connection.place.address

    @property
    def address_file(self) -> Path | None:
        """Lies there as long as the supervisor lives; None if it was found by an address of another place.

        >>> client.address_file and client.address_file.name
        'supervisor.json'
        """
        return self._connection.place.address_file

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the calls that still run, the callbacks, and the connection. Idempotent.

        >>> client = vramd.AsyncClient()
        >>> await client.close()
        """
        await self._listener.close()
        await self._connection.close()

    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        on_waiting: Callable[[Waiting], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> AsyncStream:
        """Answers a conversation.

        >>> async for text in client.chat("talker", "Say hello.", max_tokens=40):
        ...     print(text, end="")
        Hello, you.
        """
        call = calls.chat(model, messages, settings, progress=on_waiting is not None)
        return self._answer(model, call, on_waiting, timeout_s)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        on_waiting: Callable[[Waiting], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> AsyncStream:
        """Goes on with a prompt as it stands.

        >>> await client.generate("talker", "Once upon a", seed=1).text
        ' time.'
        """
        call = calls.generate(model, prompt, settings, progress=on_waiting is not None)
        return self._answer(model, call, on_waiting, timeout_s)

    async def embed(
        self, model: str, texts: str | Sequence[str], *, timeout_s: float | None = None, **settings: Unpack[AskSettings]
    ) -> Embeddings:
        """One vector per text, in the order given.

        >>> (await client.embed("reader", ["a cat", "a dog"])).vectors
        ((1.0, 0.0), (0.0, 1.0))
        """
        return await self._ask(calls.embed(model, texts, settings), timeout_s)

    async def tokenize(
        self,
        model: str,
        text: str,
        *,
        add_special: bool = False,
        parse_special: bool = False,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> tuple[int, ...]:
        """Token ids of a text.

        >>> await client.tokenize("talker", "Hello, you.")
        (15, 3, 42)
        """
        return await self._ask(calls.tokenize(model, text, add_special, parse_special, settings), timeout_s)

    async def detokenize(
        self, model: str, token_ids: Iterable[int], *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> str:
        """Text of token ids.

        >>> await client.detokenize("talker", (15, 3, 42))
        'Hello, you.'
        """
        return await self._ask(calls.detokenize(model, token_ids, settings), timeout_s)

    async def load(
        self,
        model: str,
        *,
        reload: bool = False,
        on_progress: Callable[[values.LoadProgress], None] | None = None,
        timeout_s: float | None = None,
        **settings: Unpack[LoadSettings],
    ) -> values.ResidentModel:
        """Loads a model, or joins its load; returns when it is ready.

        >>> (await client.load("talker", on_progress=lambda step: print(step.state))).pid
        LOADING
        READY
        4711
        """
        steps = self._receive(calls.load(model, settings, reload), self._limit_s(timeout_s))
        step = None
        try:
            async for step in steps:
                if on_progress is not None:
                    on_progress(step.progress)
        finally:
            steps.cancel()
        return calls.loaded(step)

    async def unload(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> values.Receipt:
        """Ends a model's process; returns when it is gone and its memory is back.

        >>> (await client.unload("talker")).observed_bytes
        207618048
        """
        return await self._ask(calls.unload(model, force), timeout_s)

    async def restart(self, model: str, *, force: bool = False, timeout_s: float | None = None) -> values.ResidentModel:
        """Gives a loaded model a new process with the same settings.

        >>> (await client.restart("talker")).incarnation
        3
        """
        return await self._ask(calls.restart(model, force), timeout_s)

    async def update(
        self,
        model: str,
        *,
        pinned: bool | None = None,
        keep_alive_s: float | None = None,
        priority: Literal["interactive", "normal", "batch"] | None = None,
        timeout_s: float | None = None,
    ) -> values.Model:
        """Changes how long a model stays, and how urgent it is.

        >>> (await client.update("talker", pinned=True)).pinned
        True
        """
        return await self._ask(calls.update(model, pinned, keep_alive_s, priority), timeout_s)

    async def models(self, *, timeout_s: float | None = None) -> tuple[values.Model, ...]:
        """Every model that vramd knows.

        >>> [model.id for model in await client.models()]
        ['reader', 'talker']
        """
        return await self._ask(calls.models(), timeout_s)

    async def model(self, model: str, *, timeout_s: float | None = None) -> values.Model:
        """One model, with its residency.

        >>> resident = (await client.model("talker")).resident
        >>> resident and resident.state
        'READY'
        """
        return await self._ask(calls.model(model), timeout_s)

    async def resident(self, *, timeout_s: float | None = None) -> tuple[values.ResidentModel, ...]:
        """The models that have a process, or wait for one.

        >>> [model.model for model in await client.resident()]
        ['talker']
        """
        return (await self.status(timeout_s=timeout_s)).models

    async def rescan(self, *, timeout_s: float | None = None) -> values.Rescan:
        """Looks into the folders of models again.

        >>> (await client.rescan()).added
        ('reader',)
        """
        return await self._ask(calls.rescan(), timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> values.Status:
        """The supervisor, its devices and the resident models.

        >>> (await client.status()).supervisor.usable_cores
        2
        """
        return await self._ask(calls.status(), timeout_s)

    async def devices(self, *, timeout_s: float | None = None) -> tuple[values.Device, ...]:
        """Every device.

        >>> [device.id for device in await client.devices()]
        ['gpu0']
        """
        return await self._ask(calls.devices(), timeout_s)

    async def shutdown(self, *, force: bool = False, timeout_s: float | None = None) -> None:
        """Asks the supervisor to end, with all its workers.

        >>> await client.shutdown()
        """
        await self._ask(calls.shutdown(force), timeout_s)

    def _limit_s(self, timeout_s: float | None) -> float | None:
        return self._timeout_s if timeout_s is None else timeout_s

    async def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        answer = await self._connection.ask(call, Attempts(self._limit_s(timeout_s)))
        if not isinstance(answer, VramdError):
            return answer
        try:
            raise answer
        finally:
            del answer  # it has this frame in its traceback

    def _answer(
        self, model: str, call: Call[Piece], on_waiting: Callable[[Waiting], None] | None, timeout_s: float | None
    ) -> AsyncStream:
        attempts = Attempts(self._limit_s(timeout_s))
        return AsyncStream(model, AsyncReceiving(self._connection, call, attempts, calls.before_answer(on_waiting)))

    def _receive(self, call: Call[Value], timeout_s: float | None) -> AsyncReceiving[Value]:
        return AsyncReceiving(self._connection, call, Attempts(timeout_s))
