"""When a failed call is retried: only if the supervisor says that waiting helps, and only in time."""

import math
import random
import time

from vramd.errors import InvalidRequest, VramdError

ATTEMPTS = 3
JITTER = 0.25
"""Share of the wait that is added at random, so that clients do not return at the same moment."""

_FOREVER_S = 1e9
"""Beyond this a timeout is none; gRPC's own clock overflows soon after."""


class Attempts:
    """The attempts of one call: how many were made, and until when it may go on."""

    def __init__(self, timeout_s: float | None) -> None:
        """None is no limit. Raises InvalidRequest for what is no duration."""
        if timeout_s is not None and (math.isnan(timeout_s) or timeout_s < 0):
            raise InvalidRequest("FIELD_INVALID", f"timeout_s is no duration: {timeout_s}", {"field": "timeout_s"})
        self._timeout_s = None if timeout_s is None or timeout_s > _FOREVER_S else timeout_s
        self._began_s = time.monotonic()
        self._failed = 0

    def left_s(self) -> float | None:
        """Seconds left, 0 at least; None: no limit."""
        return None if self._timeout_s is None else max(0.0, self._began_s + self._timeout_s - time.monotonic())

    def next_in_s(self, failure: VramdError, *, moved: bool) -> float | None:
        """Seconds until the next attempt; None: there is none.

        `moved`: another supervisor has taken the place of the one that was asked.
        """
        self._failed += 1
        if self._failed >= ATTEMPTS:
            return None
        if moved:
            return 0.0
        asked_s, left_s = failure.retry_after_s, self.left_s()
        if asked_s is None or failure.code != "UNAVAILABLE":  # everything else is for the caller to decide
            return None
        wait_s = asked_s * (1 + random.uniform(0, JITTER))  # noqa: S311  spreads clients out, guards nothing
        return wait_s if left_s is None or wait_s < left_s else None
