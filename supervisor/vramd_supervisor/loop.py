"""The one writer: hands events to the core in turn and carries out its actions.

Everything here runs in the event loop's thread. `submit` is synchronous: when it returns, the event and all that
follows from it at once is done; what takes longer comes back as another event.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import count

from .core.actions import (
    Action,
    Complete,
    Decided,
    Effect,
    Exit,
    FindPlans,
    FindTogether,
    Grant,
    GrantReservation,
    Interrupted,
    Notice,
    Refuse,
    Report,
    WorkerAction,
)
from .core.core import Core
from .core.events import (
    Cancelled,
    Ended,
    Event,
    Resumed,
    Streamed,
)
from .core.pump import Pump
from .domain.errors import Refusal, RefusedError

log = logging.getLogger(__name__)

OutsideAction = WorkerAction | FindPlans | FindTogether | Decided | Notice
Outcome = Grant | GrantReservation | Complete
"""How the wait of a request ends well."""


class Ticket:
    """One caller's side of a request."""

    def __init__(self, request: int) -> None:
        self.request = request
        self.outcome: asyncio.Future[Outcome]
        """The grant, the reservation, or how a load or unload ended; RefusedError if it was refused while it waited.

        A request that was interrupted has another one for its next grant.
        """
        self.aborted: Refusal | None = None
        """Why a granted request was aborted."""
        self.interrupted: Refusal | None = None
        """Why it lost the process of its last grant, and waits for another; `wait_again` clears it."""
        self.on_abort: Callable[[], object] = lambda: None
        """Called when a granted request is aborted or interrupted, to break off what it is doing."""
        self._broken_off = asyncio.Event()
        self._wait_for_outcome()

    def _wait_for_outcome(self) -> None:
        self.outcome = asyncio.get_running_loop().create_future()
        self._reports: asyncio.Queue[Report | None] = asyncio.Queue()
        reports = self._reports
        self.outcome.add_done_callback(lambda _: reports.put_nowait(None))

    async def wait_broken_off(self, within_s: float) -> bool:
        """Waits until a granted request is aborted or interrupted; whether it is."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._broken_off.wait(), within_s)
        return self._broken_off.is_set()

    def interrupt(self, why: Refusal) -> None:
        """A granted request has lost its process, and waits again."""
        self.interrupted = why
        self._wait_for_outcome()
        self._break_off()

    def wait_again(self) -> None:
        """The caller has broken off, and waits for the next outcome."""
        self.interrupted = None
        self._broken_off.clear()
        self.on_abort = lambda: None

    def _break_off(self) -> None:
        self._broken_off.set()
        self.on_abort()

    async def reports(self) -> AsyncGenerator[Report, None]:
        """Yields what the caller waits for, as it changes, until there is an outcome."""
        while report := await self._reports.get():
            yield report

    def report(self, news: Report) -> None:
        """Tells the caller what it waits for."""
        self._reports.put_nowait(news)

    def refuse(self, why: Refusal) -> None:
        """The request has ended with an error, waiting or running."""
        if self.outcome.done():
            self.aborted = why
            self._break_off()
        else:
            self.outcome.set_exception(RefusedError(why))
            # A caller that has left does not fetch it.
            self.outcome.exception()


class Loop:
    """Owns the core. All methods are for the event loop's thread."""

    def __init__(
        self, core: Core, do: Callable[[OutsideAction], None], handle: Callable[[Event], list[Action]] | None = None
    ) -> None:
        """`do` carries out what concerns neither callers nor the loop. It never waits; what comes of it is an event.

        `handle` is the core's, or that of a recorder before it.
        """
        self.core = core
        self.ending = asyncio.Event()
        """Set when the supervisor is to end."""
        self.exited = asyncio.Event()
        """Set when everything has ended and the supervisor may leave."""
        self.failed: Exception | None = None
        """Why it has to end: a fault of the core, whose books can no longer be trusted, or a port that is closed."""
        event_loop = asyncio.get_running_loop()
        self.now_s: Callable[[], float] = event_loop.time
        """The only clock that decisions see: monotonic seconds."""
        self._do = do
        self._pump = Pump(
            handle or core.handle, self._carry_out, lambda at_s, ring: event_loop.call_at(at_s, ring).cancel
        )
        self._tickets: dict[int, Ticket] = {}
        self._ids = count(1)

    def submit(self, event: Event) -> None:
        """Takes an event in. If one is being handled, this one comes behind it, before the outer call returns."""
        if self.failed:
            return
        try:
            self._pump.submit(event)
        except Exception as error:  # the core's own faults: see `failed`
            log.exception("a fault in the core: the supervisor ends")
            self.fail(error)
        if self.core.ending:
            self.ending.set()

    def fail(self, error: Exception) -> None:
        """Ends the supervisor at once: its books can no longer be trusted."""
        self.failed = error
        self.ending.set()
        self.exited.set()

    @contextlib.asynccontextmanager
    async def request(self, event: Callable[[float, int], Event]) -> AsyncIterator[Ticket]:
        """Submits what `event` makes of the present moment and the number of a new request.

        Leaving the block ends the request, whatever the reason; a reservation that was granted outlives it.
        """
        ticket = Ticket(next(self._ids))
        self._tickets[ticket.request] = ticket
        self.submit(event(self.now_s(), ticket.request))
        try:
            yield ticket
        except BaseException:
            self._leave(ticket, Cancelled(self.now_s(), ticket.request))
            raise
        self._leave(ticket, Ended(self.now_s(), ticket.request))

    def streamed(self, ticket: Ticket) -> None:
        """The first part of an answer has gone to the caller."""
        self.submit(Streamed(self.now_s(), ticket.request))

    def resumed(self, ticket: Ticket, sent_tokens: int, *, exact: bool) -> None:
        """A request that was interrupted has been handed to its next process."""
        self.submit(Resumed(self.now_s(), ticket.request, sent_tokens, exact))

    def _leave(self, ticket: Ticket, event: Ended | Cancelled) -> None:
        self._tickets.pop(ticket.request, None)
        self.submit(event)

    def _carry_out(self, action: Effect) -> None:
        """A fault here leaves the core's books intact: it is logged."""
        try:
            match action:
                case Grant(request=request) | Complete(request=request) | GrantReservation(request=request):
                    self._resolve(request, action)
                case Interrupted(request=request, refusal=why):
                    if ticket := self._tickets.get(request):
                        ticket.interrupt(why)
                case Refuse(request=request, refusal=why):
                    if ticket := self._tickets.get(request):
                        ticket.refuse(why)
                case Report(request=request):
                    if ticket := self._tickets.get(request):
                        ticket.report(action)
                case Exit():
                    self.exited.set()
                case _:
                    self._do(action)
        except Exception:
            log.exception("could not be carried out: %.200s", action)

    def _resolve(self, request: int, outcome: Outcome) -> None:
        if (ticket := self._tickets.get(request)) and not ticket.outcome.done():
            ticket.outcome.set_result(outcome)
