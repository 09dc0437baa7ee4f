"""Bounds the end of this process: one that has not ended in time is cut off, whatever hangs."""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

CUT_OFF = 75
"""Exit code of a supervisor whose end took too long."""
SAY_S = 1.0
"""For the log to take that it is cut off; the log may be what hangs."""
RELEASE_S = 20.0
"""On top of the drain: asking, killing, and the memory of the last workers coming back."""
_TIDY_S = 15.0
"""On top of that: logs, journal, connections, folders."""
_OWNERLESS_S = 10.0
"""On top of the grace, if the owner is gone: nobody is left to wait for more."""


def end_s(drain_s: float) -> float:
    """How long the end may take in all if running requests have `drain_s` for theirs."""
    return drain_s + RELEASE_S + _TIDY_S


def owner_end_s(grace_s: float) -> float:
    """How long the end may take in all once the owner is gone and running requests have `grace_s` for theirs."""
    return grace_s + _OWNERLESS_S


class Watchdog:
    """A thread that waits for no other. Workers end with the process, and the next start tidies up behind both."""

    def __init__(self, cut_off: Callable[[int], object] = os._exit) -> None:
        """`cut_off` ends the process with an exit code, at once."""
        self._cut_off = cut_off
        self._by_s = math.inf
        self._sooner = threading.Condition()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def arm(self, within_s: float) -> None:
        """From now on the process may take so long to end; the earliest moment counts. For handlers of signals too."""
        with self._sooner:
            self._by_s = min(self._by_s, time.monotonic() + within_s)
            self._sooner.notify()

    def _watch(self) -> None:
        with self._sooner:
            while (left_s := self._by_s - time.monotonic()) > 0:
                self._sooner.wait(None if left_s == math.inf else left_s)
        with contextlib.suppress(RuntimeError):  # there are no more threads
            saying = threading.Thread(
                target=log.critical, args=("its end has taken too long: it is cut off",), daemon=True
            )
            saying.start()
            saying.join(SAY_S)
        self._cut_off(CUT_OFF)
