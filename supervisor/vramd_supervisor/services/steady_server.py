"""A gRPC server whose accept loop survives any request.

The library decodes the `:path` of a call in the one loop that accepts calls. A path that is no UTF-8 ends that loop for
good: open connections are served on, new ones are not. No hook of the library comes before it, so the loop is
replaced once it has ended. Server, port, connections and running calls stay as they are; only the next calls are taken
off by the loop of a helper without a port.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # an extension without types

log = logging.getLogger(__name__)

LIBRARY_LOG = logging.getLogger("grpc._cython.cygrpc")
MOST_LINES = 5
"""Limit for the library's log in `LINES_S` seconds."""
LINES_S = 60.0


def steady_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, int]],
    on_failed: Callable[[], None],
) -> Any:
    """Like `grpc.aio.server`, with an accept loop that is replaced; `on_failed` is called if that is impossible."""
    plain, cygrpc.AioServer = cygrpc.AioServer, partial(_SteadyServer, on_failed)
    try:
        return grpc.aio.server(interceptors=interceptors, options=options)
    finally:
        cygrpc.AioServer = plain


class _GenericServer(cygrpc.AioServer):  # type: ignore[misc]
    def add_registered_method_handlers(self, _: object) -> None:
        """None: calls that wait for a registered method would be lost with the loop. The generic handlers do."""


class _SteadyServer(_GenericServer):
    def __init__(self, on_failed: Callable[[], None], *construction: Any) -> None:
        self._on_failed = on_failed
        self._construction = construction
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._asked: asyncio.Future[object] | None = None
        super().__init__(*construction)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers
        super().add_generic_rpc_handlers(handlers)

    async def next_call(self) -> object:
        """Returns the next call; one whose waiter was cancelled is kept for the next waiter."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(cygrpc.AioServer._request_call(self))
        call = await asyncio.shield(self._asked)
        self._asked = None
        return call

    async def _server_main_loop(self, started: "asyncio.Future[bool]") -> None:
        try:
            await super()._server_main_loop(started)
        except UnicodeDecodeError:
            log.warning("a call came whose path is no UTF-8; such calls are dropped")
            await self._accept_by_helpers()

    async def _accept_by_helpers(self) -> None:
        while True:
            helper = _Helper(self, *self._construction)
            helper.add_generic_rpc_handlers(self._handlers)
            if await helper.served_to_the_end():
                return

    def _serving_task_crash_handler(self, task: "asyncio.Task[None]") -> None:
        if self.is_running() and not task.cancelled() and task.exception():
            self._on_failed()
        super()._serving_task_crash_handler(task)


class _Helper(_GenericServer):
    """Accepts the calls of another server, until a call ends its loop as well."""

    def __init__(self, server: _SteadyServer, *construction: Any) -> None:
        super().__init__(*construction)
        self._calls_of = server
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._nothing_more = False

    async def served_to_the_end(self) -> bool:
        """Accepts calls; returns True at the end of the server, False if another helper must go on."""
        await self.start()
        await self._ended.wait()
        self._left.set()
        await self.shutdown(None)
        return self._nothing_more

    async def _request_call(self) -> object:
        try:
            return await self._calls_of.next_call()
        except Exception:
            # The library's loop would ask again at once, as long as this helper is not shut down.
            self._nothing_more = True
            self._ended.set()
            await self._left.wait()
            raise

    async def _server_main_loop(self, started: "asyncio.Future[bool]") -> None:
        try:
            await super()._server_main_loop(started)
        except UnicodeDecodeError:
            pass  # told once, by the server
        finally:
            self._ended.set()


class Sparing(logging.Filter):
    """Lets few lines of the library through, and no tracebacks: any caller can cause many of both."""

    def __init__(self) -> None:
        super().__init__()
        self._began_s = 0.0
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._began_s > LINES_S:
            self._began_s, self._seen = record.created, 0
        self._seen += 1
        record.exc_info = None
        return self._seen <= MOST_LINES
