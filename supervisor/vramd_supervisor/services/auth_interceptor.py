"""Guards every public method: checks the token, reads the request, and turns faults into statuses.

The token is checked when the head of a call has come. Without it nothing more is read, except by the open methods, and
there as much as `UnauthenticatedCalls` takes.
"""

import hmac
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from vramd_common.heap import Heap
from vramd_common.reasons import Reason

from ..domain.errors import Refusal, RefusedError, refusal
from ..wire_status import Context, abort, incident
from . import field_count
from .activity import Activity
from .bearer import token_of
from .scopes import Scope, scope_of
from .unauthenticated import UnauthenticatedCalls
from .writing import write

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Behavior: TypeAlias = Callable[[Any, Any], Any]


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Admits calls whose token has the scope; a failing call ends with a status of the table, its text never leaks."""

    def __init__(self, tokens: Mapping[Scope, str], activity: Activity) -> None:
        """`activity` counts the calls with a token."""
        self._tokens = {scope: token.encode() for scope, token in tokens.items()}
        self._activity = activity
        self._heap = Heap()
        self._unauthenticated = UnauthenticatedCalls(self._heap)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Found:
        """Called by the library for each call, before its first message is read."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        needed = scope_of(handler_call_details.method)
        given = self._scope(handler_call_details)
        if not isinstance(given, Refusal):
            if given.value >= needed.value:
                return self._for_caller(handler, counts=needed is not Scope.NONE)
            return _refused(_denied(handler_call_details.method, needed))
        if needed is Scope.NONE:
            return _for_strangers(handler, self._unauthenticated, given)
        return _refused(given)

    def _scope(self, call: grpc.HandlerCallDetails) -> Scope | Refusal:
        """What the token of a call is for, or why there is none that counts."""
        try:
            token = token_of(call.invocation_metadata)
        except RefusedError as refused:
            return refused.refusal
        # All are compared, so that the time does not tell which one is near.
        found = [scope for scope, own in self._tokens.items() if hmac.compare_digest(token, own)]
        if not found:
            text = "the token is not this supervisor's; each start makes new ones, in the runtime folder"
            return refusal(Reason.TOKEN_INVALID, text)
        return found[0]

    def _for_caller(self, handler: Handler, *, counts: bool) -> Handler:
        """A method for a caller with the token. Requests come as bytes: an unreadable one is the caller's fault."""
        for kind, (make, guard) in _KINDS.items():
            if behavior := getattr(handler, kind):
                shielded = _shielded(guard(handler, behavior, self._heap))
                method = _counted(shielded, self._activity) if counts else shielded
                return make(method, None, handler.response_serializer)
        raise AssertionError("the method is of a kind that has no guard")


def _denied(method: str, needed: Scope) -> Refusal:
    scope = needed.name.lower()
    text = f"{method.rpartition('/')[2]} needs the {scope} token, this one is for use only; `vramd token` prints both"
    return refusal(Reason.SCOPE_DENIED, text, scope=scope)


def _unary(handler: Handler, behavior: Behavior, heap: Heap) -> Behavior:
    async def guarded(raw: bytes, context: Context) -> object:
        try:
            return await _awaited(behavior(_parsed(handler, raw), context))
        finally:
            heap.freed(len(raw))

    return guarded


def _stream(handler: Handler, behavior: Behavior, heap: Heap) -> Behavior:
    async def guarded(raw: bytes, context: Context) -> None:
        try:
            await _write_all(behavior(_parsed(handler, raw), context), context)
        finally:
            heap.freed(len(raw))

    return guarded


def _dialogue(handler: Handler, behavior: Behavior, _: Heap) -> Behavior:
    async def guarded(raws: AsyncIterator[bytes], context: Context) -> None:
        await _write_all(behavior((_parsed(handler, raw) async for raw in raws), context), context)

    return guarded


_KINDS: Mapping[str, tuple[Callable[..., Handler], Callable[[Handler, Behavior, Heap], Behavior]]] = {
    "unary_unary": (grpc.unary_unary_rpc_method_handler, _unary),
    "unary_stream": (grpc.unary_stream_rpc_method_handler, _stream),
    "stream_stream": (grpc.stream_stream_rpc_method_handler, _dialogue),
}
"""By the kind of a method: what makes its handler, and what reads its requests. The last is reflection's."""


def _refused(why: Refusal) -> Handler:
    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, why)

    # The library does not read the messages of this kind by itself.
    return grpc.stream_stream_rpc_method_handler(refuse)


def _for_strangers(handler: Handler, calls: UnauthenticatedCalls, why: Refusal) -> Handler:
    """An open method for a caller without the token: its request is read here, within bounds."""
    behavior: Behavior | None = handler.unary_unary or handler.unary_stream

    async def guarded(_: AsyncIterator[bytes], context: Context) -> None:
        assert behavior, "an open method takes one request"
        async with calls.one(context, why) as raw:
            await _write_all(behavior(_parsed(handler, raw), context), context)

    return grpc.stream_stream_rpc_method_handler(_shielded(guarded), None, handler.response_serializer)


def _parsed(handler: Handler, raw: bytes) -> Any:
    """The request. Raises RefusedError."""
    if not handler.request_deserializer:
        return raw
    # The class of a generated message whose method this is.
    kind = getattr(handler.request_deserializer, "__self__", None)
    if descriptor := getattr(kind, "DESCRIPTOR", None):
        field_count.check(raw, descriptor)
    try:
        return handler.request_deserializer(raw)
    except DecodeError:
        text = f"the {len(raw)} bytes of the request are no message of this method"
        raise RefusedError(refusal(Reason.REQUEST_UNREADABLE, text)) from None


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


async def _write_all(answer: Any, context: Context) -> None:
    """Writes the answer of a method: a stream, one message, or nothing where the method has written it."""
    if isinstance(answer, AsyncGenerator):
        # A caller that leaves interrupts the write: what the generator holds is given back all the same.
        async with aclosing(answer):
            async for message in answer:
                await write(context, message)
    elif (message := await _awaited(answer)) is not None:
        await write(context, message)


def _counted(behavior: Behavior, activity: Activity) -> Behavior:
    async def counted(request: Any, context: Context) -> Any:
        with activity.call():
            return await behavior(request, context)

    return counted


def _shielded(behavior: Behavior) -> Behavior:
    async def shielded(request: Any, context: Context) -> Any:
        try:
            return await behavior(request, context)
        except RefusedError as error:
            why = error.refusal
        except NotImplementedError:  # of a standard service, which may have methods that its library does not serve
            return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the method is not served here")
        except (grpc.aio.AbortError, grpc.aio.InternalError):
            raise  # ended already; or the caller has left in the middle of a write, which the library sees to
        except Exception:
            incident_id, why = incident("a fault of vramd")
            log.exception("incident %s", incident_id)
        # The library's own exception stays with the call, in a circle: what hangs on it waits for the collector, and a
        # request may be large. So it is raised here, where the frames of the behavior are gone.
        del request
        return await abort(context, why)

    return shielded
