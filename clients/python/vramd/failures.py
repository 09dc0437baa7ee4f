"""Reads what came over the wire instead of an answer: status code, text, details. The only place that does."""

import grpc
from vramd_common.statuses import DETAILS_KEY, unpack

from vramd.error_table import class_of
from vramd.errors import SupervisorUnreachable, TokenRefused, Unimplemented, VramdError

HOW_TO_START = "start one with: vramd serve --models DIR"


def failure(code: str, text: str, details: bytes) -> VramdError:
    """The error for a status code's name, its text and the bytes of its google.rpc.Status, empty if there are none."""
    told = unpack(details)
    if told is None:
        return _without_reason(code, text)
    return class_of(told.reason, code)(told.reason, text, dict(told.metadata), told.retry_after_s, code)


def _without_reason(code: str, text: str) -> VramdError:
    """What gRPC itself reports, or a server that is none of ours."""
    if code == "UNAVAILABLE":
        return SupervisorUnreachable(code, f"no supervisor answers ({text}); {HOW_TO_START}", code=code)
    if code == "DEADLINE_EXCEEDED":
        text = "the call took longer than its timeout"
    return class_of("", code)(code, text, code=code)


def of_nobody(error: VramdError) -> bool:
    """Whether this may be no word of the supervisor that was looked for: it is gone, or another is in its place."""
    return isinstance(error, SupervisorUnreachable | TokenRefused | Unimplemented)


def from_rpc(error: grpc.RpcError) -> VramdError:
    """The error for what a channel raised."""
    # A stream of gRPC raises itself: with the frames that it came through, it would keep itself alive.
    error.__traceback__ = None
    return failure(error.code().name, error.details() or "", _details(error))


def _details(error: grpc.RpcError) -> bytes:
    """The two kinds of channels have two kinds of metadata."""
    found: object
    if isinstance(error, grpc.aio.AioRpcError):
        found = error.trailing_metadata().get(DETAILS_KEY)
    else:
        found = next((entry.value for entry in error.trailing_metadata() or () if entry.key == DETAILS_KEY), None)
    return found if isinstance(found, bytes) else b""
