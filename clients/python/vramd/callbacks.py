"""Topics that a client calls back for, and the callbacks that are wanted. Shared by both clients."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

from vramd.errors import InvalidRequest, Unavailable, VramdError
from vramd.values.events import Event
from vramd.values.words import EventKind

log = logging.getLogger("vramd")

Topic = Literal["memory", "model", "eviction", "release", "pressure", "queue", "thrash"]
"""The topics of `on`."""

TOPICS: Mapping[str, EventKind] = {
    "memory": "LEDGER",
    "model": "MODEL",
    "eviction": "EVICTION",
    "release": "RELEASE",
    "pressure": "PRESSURE",
    "queue": "QUEUE",
    "thrash": "THRASH",
}
"""Topic → kind of its events."""

LOOK_EVERY_S = 1.0
"""Seconds between looks for another supervisor when one has ended: a file is read, or a connection refused."""

Callback = TypeVar("Callback")
"""Takes the detail of its topic's events: `on` says so, to the type checker too."""


class Subscription:
    """A callback that is wanted, as `on` returns it: after `close` it is not called again.

    >>> subscription = client.on("model", lambda change: print(change.model, change.after))
    >>> subscription.close()
    """

    def __init__(self, close: Callable[[Subscription], None]) -> None:
        self._close = close

    def close(self) -> None:
        """Ends the calls; one that runs now is not interrupted. Idempotent, from any thread.

        >>> client.on("release", print).close()
        """
        self._close(self)


class Callbacks(Generic[Callback]):
    """The callbacks of a client, by the kind of their events. Any thread may change them while another looks."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._wanted: dict[Subscription, tuple[EventKind, Callback]] = {}

    def add(self, topic: str, callback: Callback) -> Subscription:
        """Raises InvalidRequest for a topic that there is not."""
        if topic not in TOPICS:
            raise InvalidRequest("FIELD_INVALID", f"{topic!r} is not one of {', '.join(TOPICS)}", {"field": "topic"})
        subscription = Subscription(self._remove)
        with self._changing:
            self._wanted = {**self._wanted, subscription: (TOPICS[topic], callback)}
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        with self._changing:
            self._wanted = {kept: wanted for kept, wanted in self._wanted.items() if kept is not subscription}

    def of(self, kind: EventKind | str) -> list[Callback]:
        return [callback for wanted, callback in self._wanted.values() if wanted == kind]


def log_failed_callback(event: Event) -> None:
    """Logs that a callback raised, with the exception at hand."""
    log.exception("a callback for %s failed; it is called again for the next event", event.kind)


def log_end_of_events(error: VramdError | None, *, again: bool) -> None:
    """Logs that no more events come, and whether another supervisor is looked for."""
    hope = f"a supervisor is looked for every {LOOK_EVERY_S:g} s" if again else "callbacks are not called any more"
    log.warning("no more events, %s: %s", hope, error or "the supervisor ended the feed")


def may_come_back(error: VramdError | None) -> bool:
    """Whether another supervisor may get the place of the one that is gone."""
    return error is None or isinstance(error, Unavailable)
