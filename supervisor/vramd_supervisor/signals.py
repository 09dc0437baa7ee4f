"""Signals that end the supervisor: the first one in order, the second one at once."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

from .core.events import ShutdownRequested
from .loop import Loop
from .watchdog import Watchdog, end_s

log = logging.getLogger(__name__)


def leave_orderly() -> None:
    """Until they are heard, signals end this process as an exit does: what it has taken is given back."""
    for number in set(_numbers()) - {signal.SIGINT}:  # which Python raises by itself
        signal.signal(number, lambda got, _: sys.exit(128 + got))


@contextlib.contextmanager
def heard(loop: Loop, watchdog: Watchdog) -> Iterator[None]:
    """SIGTERM, Ctrl-C, Ctrl-Break, and the end of the terminal, unless that is to be survived (`nohup`).

    The watchdog is armed in the handler itself: it counts even if the event loop hangs. Behind the block they are
    ignored for good: the process leaves, and is cut off by the watchdog if that hangs.
    """
    event_loop = asyncio.get_running_loop()
    seen: list[int] = []

    def note(number: int, force: bool) -> None:
        if force:
            log.warning("%s again: what runs is ended at once", _name(number))
        elif len(seen) == 1:
            drain_s = loop.core.config.scheduling.drain_s
            log.info("%s: what runs may end within %g s; another one ends it at once", _name(number), drain_s)
        loop.submit(ShutdownRequested(loop.now_s(), force=force))

    def handle(number: int, _: object) -> None:
        # A terminal that is closed may say so twice, once itself and once by its shell: that is no impatience.
        force = bool(seen) and number != hang_up()
        seen.append(number)
        watchdog.arm(end_s(0.0 if force else loop.core.config.scheduling.drain_s))
        event_loop.call_soon_threadsafe(note, number, force)

    numbers = _numbers()
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        watchdog.arm(end_s(0.0))
        # An impatient one would break off what gives things back, and change the exit code.
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def hang_up() -> int | None:
    """The number of the signal; None where there is none, or it is ignored."""
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        return signal.SIGHUP
    return None


def _numbers() -> list[int]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # see `Owner`
            numbers.remove(signal.SIGINT)
    found = hang_up()
    return [*numbers, *([] if found is None else [found])]


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
