"""When a failed call is made again: only if the supervisor says that waiting helps, and only in time."""

import math
import random
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.stop import stop_base

from vramd.errors import InvalidRequest, VramdError

ATTEMPTS = 3
JITTER = 0.25
"""Share of the wait that is added at random, so that many clients do not come back at once."""

_FOREVER_S = 1e9
"""Beyond this a timeout is none; gRPC's own clock overflows soon after."""


class Deadline:
    """Until when a call may go on, over all its attempts."""

    def __init__(self, timeout_s: float | None) -> None:
        """None is no limit. Raises InvalidRequest for what is no duration."""
        if timeout_s is not None and (math.isnan(timeout_s) or timeout_s < 0):
            raise InvalidRequest("FIELD_INVALID", f"timeout_s is no duration: {timeout_s}", {"field": "timeout_s"})
        self.timeout_s = None if timeout_s is None or timeout_s > _FOREVER_S else timeout_s
        self._began_s = time.monotonic()

    def left_s(self) -> float | None:
        """Seconds left, 0 at least; None: no limit."""
        return None if self.timeout_s is None else max(0.0, self._began_s + self.timeout_s - time.monotonic())


def may_retry(error: BaseException) -> bool:
    """Whether the same call may succeed soon: UNAVAILABLE with a time. Everything else is for the caller to decide."""
    return isinstance(error, VramdError) and error.code == "UNAVAILABLE" and error.retry_after_s is not None


def wait_s(error: BaseException) -> float:
    """Seconds until the next attempt: what the supervisor asks for, and a little more."""
    asked_s = (error.retry_after_s if isinstance(error, VramdError) else None) or 0.0
    return asked_s * (1 + random.uniform(0, JITTER))  # noqa: S311  spreads clients out, guards nothing


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return wait_s(error) if error else 0.0


def _stop(deadline: Deadline) -> stop_base:
    stop: stop_base = stop_after_attempt(ATTEMPTS)
    left_s = deadline.left_s()
    return stop if left_s is None else stop | stop_before_delay(left_s)


def retrying(deadline: Deadline, sleep: Callable[[float], None]) -> Retrying:
    """Calls a function up to three times; raises its last error as it is. Never waits past the deadline."""
    return Retrying(sleep=sleep, stop=_stop(deadline), wait=_wait, retry=retry_if_exception(may_retry), reraise=True)


def async_retrying(deadline: Deadline, sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """The same for a coroutine function."""
    return AsyncRetrying(
        sleep=sleep, stop=_stop(deadline), wait=_wait, retry=retry_if_exception(may_retry), reraise=True
    )
