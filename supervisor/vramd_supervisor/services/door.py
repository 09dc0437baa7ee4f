"""What stands before every public method: the token, and the shield that turns errors into statuses."""

import hmac
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from vramd_proto.v1.reasons import Reason
from vramd_proto.v1.rendezvous import TOKEN_KEY

from ..core.errors import RefusedError, refusal
from .status import Context, abort, incident

log = logging.getLogger(__name__)

OPEN_METHODS = "/grpc.health.v1.Health/"
"""Methods that need no token: a probe may ask whether somebody is there."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Behavior: TypeAlias = Callable[[Any, Any], Any]


class Door(grpc.aio.ServerInterceptor):
    """Lets calls in that carry the token; ends those that fail with a status of the table, never with a text leak."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Called by the library for each call."""
        handler = await continuation(handler_call_details)
        is_open = handler_call_details.method.startswith(OPEN_METHODS)
        if handler and handler.unary_unary:
            guarded: Behavior = self._unary(handler.unary_unary, is_open)
            return grpc.unary_unary_rpc_method_handler(
                guarded, handler.request_deserializer, handler.response_serializer
            )
        if handler and handler.unary_stream:
            guarded = self._streaming(handler.unary_stream, is_open)
            return grpc.unary_stream_rpc_method_handler(
                guarded, handler.request_deserializer, handler.response_serializer
            )
        if handler and handler.stream_stream:  # reflection
            guarded = self._streaming(handler.stream_stream, is_open)
            return grpc.stream_stream_rpc_method_handler(
                guarded, handler.request_deserializer, handler.response_serializer
            )
        assert handler is None, f"{handler_call_details.method} is of a kind that nobody guards"
        return None

    def _unary(self, behavior: Behavior, is_open: bool) -> Callable[..., Awaitable[Any]]:
        async def guarded(request: object, context: Context) -> object:
            try:
                self._admit(context, is_open)
                answer = behavior(request, context)
                return await answer if inspect.isawaitable(answer) else answer
            except RefusedError as error:
                await abort(context, error.refusal)
            except grpc.aio.AbortError:
                raise
            except Exception:
                await _fault(context)
            return None

        return guarded

    def _streaming(self, behavior: Behavior, is_open: bool) -> Callable[..., Awaitable[None]]:
        async def guarded(request: object, context: Context) -> None:
            try:
                self._admit(context, is_open)
                answer = behavior(request, context)
                if isinstance(answer, AsyncGenerator):
                    # A caller that leaves interrupts the write: what the generator holds is given back all the same.
                    async with aclosing(answer):
                        async for message in answer:
                            await context.write(message)
                else:
                    await answer
            except RefusedError as error:
                await abort(context, error.refusal)
            except grpc.aio.AbortError:
                raise
            except Exception:
                await _fault(context)

        return guarded

    def _admit(self, context: Context, is_open: bool) -> None:
        if is_open:
            return
        given = dict(context.invocation_metadata() or ()).get(TOKEN_KEY)
        if given is None:
            text = "the call carries no token; it lies in the runtime folder, in the file `token`"
            raise RefusedError(refusal(Reason.TOKEN_MISSING, text))
        if not hmac.compare_digest(
            given.encode() if isinstance(given, str) else given, f"Bearer {self._token}".encode()
        ):
            text = "the token is not this supervisor's; each start makes a new one, in the runtime folder"
            raise RefusedError(refusal(Reason.TOKEN_INVALID, text))


async def _fault(context: Context) -> None:
    incident_id, why = incident("a fault of vramd")
    log.exception("incident %s", incident_id)
    await abort(context, why)
