"""Reads the token of a call. Pure."""

from collections.abc import Iterable
from typing import TypeAlias

from vramd_common.reasons import Reason
from vramd_common.rendezvous import TOKEN_KEY

from ..domain.errors import RefusedError, refusal

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


def token_of(metadata: Metadata | None) -> bytes:
    """The token that a call carries, whether it counts or not. Raises RefusedError if it carries none."""
    given = dict(metadata or ()).get(TOKEN_KEY)
    if given is None:
        text = "the call carries no token; `vramd token` prints it, from the runtime folder"
        raise RefusedError(refusal(Reason.TOKEN_MISSING, text))
    scheme, _, token = (given.encode() if isinstance(given, str) else given).partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        text = f"the metadata {TOKEN_KEY!r} is no token: expected `Bearer TOKEN`"
        raise RefusedError(refusal(Reason.TOKEN_INVALID, text))
    return token.strip()
