"""Signals that end the supervisor: the first one in order, the second one at once."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

from .core.events import ShutdownRequested
from .loop import Loop

log = logging.getLogger(__name__)


def leave_orderly() -> None:
    """Until they are heard, signals end this process as an exit does: what it has taken is given back."""
    for number in set(_numbers()) - {signal.SIGINT}:  # which Python raises by itself
        signal.signal(number, lambda got, _: sys.exit(128 + got))


@contextlib.contextmanager
def heard(loop: Loop, drain_s: float) -> Iterator[None]:
    """SIGTERM, Ctrl-C, Ctrl-Break, and the end of the terminal, unless that is to be survived (`nohup`)."""
    event_loop = asyncio.get_running_loop()
    seen: list[int] = []

    def note(number: int) -> None:
        # A terminal that is closed may say so twice, once itself and once by its shell: that is no impatience.
        force = bool(seen) and number != hang_up()
        if not seen:
            log.info("%s: what runs may end within %g s; another one ends it at once", _name(number), drain_s)
        seen.append(number)
        loop.submit(ShutdownRequested(loop.now_s(), force=force))

    before = {n: signal.signal(n, lambda got, _: event_loop.call_soon_threadsafe(note, got)) for n in _numbers()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hang_up() -> int | None:
    """The number of the signal; None where there is none, or it is ignored."""
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        return signal.SIGHUP
    return None


def _numbers() -> list[int]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    found = hang_up()
    return [*numbers, *([] if found is None else [found])]


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
