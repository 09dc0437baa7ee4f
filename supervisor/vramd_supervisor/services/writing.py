"""The messages of a stream: a caller that does not read them costs itself, and not for ever."""

import asyncio
import sys

from vramd_common.reasons import Reason

from ..domain.errors import RefusedError, refusal
from ..wire_status import Context

STALL_S = 30.0
"""A write that waits longer for its caller ends the stream. What is on the way to a caller takes some MiB."""


async def write(context: Context, message: object) -> None:
    """Writes one message of a stream. Raises RefusedError if the caller reads nothing for `STALL_S` seconds."""
    task, stalled = asyncio.current_task(), False
    assert task

    def give_up() -> None:
        nonlocal stalled
        stalled = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(STALL_S, give_up)
    try:
        await context.write(message)
    except asyncio.CancelledError:
        if not stalled or (sys.version_info >= (3, 11) and task.uncancel()):
            raise  # the call was cancelled, perhaps just then
        text = f"nothing of the answer was read for {STALL_S:g} s"
        raise RefusedError(refusal(Reason.READER_STALLED, text, limitS=f"{STALL_S:g}")) from None
    finally:
        timer.cancel()
