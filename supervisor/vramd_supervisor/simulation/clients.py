"""The clients of the streams of a traffic file."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random

from vramd_common.load_settings import LoadOptions

from ..core.events import Ended, Event, Requested
from ..core.state import RequestKind
from .clock import VirtualClock
from .traffic import Arrivals, Span, Stream, Traffic
from .virtual_workers import VirtualWorkers, Work

_RETRY_S = 1.0
"""A refused client that waits for each answer asks again no sooner."""


@dataclass(frozen=True)
class _Client:
    """One caller of a stream. It has its own dice, so that others do not change when it asks."""

    stream: Stream
    end_s: float
    dice: Random


@dataclass(frozen=True)
class _Asked:
    client: _Client
    work: Work


class Clients:
    def __init__(
        self,
        traffic: Traffic,
        clock: VirtualClock,
        workers: VirtualWorkers,
        deadline_s: float,
        submit: Callable[[Event], None],
    ) -> None:
        """`deadline_s` is for requests of streams that do not say."""
        self._traffic = traffic
        self._clock = clock
        self._workers = workers
        self._deadline_s = deadline_s
        self._submit = submit
        self._open: dict[int, _Asked] = {}
        self._ids = count(1)

    @property
    def waiting(self) -> bool:
        return bool(self._open)

    def begin(self) -> None:
        """Sets the first request of every client."""
        for number, stream in enumerate(self._traffic.stream):
            end_s = self._traffic.duration_s if stream.end_s is None else min(stream.end_s, self._traffic.duration_s)
            for index in range(stream.clients):
                client = _Client(stream, end_s, Random(f"{self._traffic.seed} {number} {index}"))  # noqa: S311  dice
                match stream.arrivals:
                    case Arrivals.POISSON:
                        first_s = client.dice.expovariate(1 / stream.every_s)
                    case Arrivals.FIXED:
                        first_s = stream.every_s * index / stream.clients
                    case Arrivals.CLOSED:
                        first_s = 0.0
                self._next(client, stream.start_s + first_s)

    def granted(self, request: int, worker_id: int, threads: int) -> None:
        self._workers.run(worker_id, request, threads, self._open[request].work, lambda: self._ended(request))

    def refused(self, request: int) -> None:
        """A request has ended with an error, waiting or running."""
        if asked := self._open.pop(request, None):
            self._workers.break_off(request)
            self._go_on(asked.client, max(asked.client.stream.every_s, _RETRY_S))

    def _next(self, client: _Client, at_s: float) -> None:
        if at_s < client.end_s:
            self._clock.at(at_s, lambda: self._ask(client))

    def _ask(self, client: _Client) -> None:
        stream = client.stream
        request = next(self._ids)
        work = Work(_drawn(client.dice, stream.prompt_tokens), _drawn(client.dice, stream.tokens))
        self._open[request] = _Asked(client, work)
        if stream.arrivals is Arrivals.POISSON:
            self._next(client, self._clock.now_s + client.dice.expovariate(1 / stream.every_s))
        elif stream.arrivals is Arrivals.FIXED:
            self._next(client, self._clock.now_s + stream.every_s)
        limit_s = self._deadline_s if stream.deadline_s is None else stream.deadline_s
        options = LoadOptions(keep_alive_s=stream.keep_alive_s)
        self._submit(
            Requested(
                self._clock.now_s, request, stream.model, RequestKind.RUN, limit_s, options, priority=stream.priority
            )
        )

    def _ended(self, request: int) -> None:
        asked = self._open.pop(request)
        self._submit(Ended(self._clock.now_s, request))
        self._go_on(asked.client, asked.client.stream.every_s)

    def _go_on(self, client: _Client, wait_s: float) -> None:
        if client.stream.arrivals is Arrivals.CLOSED:
            self._next(client, self._clock.now_s + wait_s)


def _drawn(dice: Random, span: Span) -> int:
    return dice.randint(span.least, span.most)
