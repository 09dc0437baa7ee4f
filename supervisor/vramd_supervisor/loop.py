"""The one writer: hands events to the core in turn, does what it wants done, keeps the time. Decides nothing.

Everything here runs in the event loop's thread. `submit` is synchronous: when it returns, the event and all that
follows from it at once is done; what takes longer comes back as an event of its own.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from vramd_common.load_settings import LoadOptions

from .core.actions import (
    Action,
    CancelDeadline,
    CancelExpiry,
    Complete,
    Decided,
    Exit,
    FindPlans,
    FindTogether,
    Grant,
    GrantReservation,
    Load,
    Notice,
    Refuse,
    Report,
    SetThreads,
    SetTimer,
    Spawn,
    Stop,
)
from .core.core import Core
from .core.events import (
    Cancelled,
    DeadlinePassed,
    Ended,
    Event,
    PatienceEnded,
    Requested,
    ReservationExpired,
    ReservationRequested,
    RestartRequested,
    Streamed,
    Timed,
    UnloadRequested,
)
from .core.state import RequestKind
from .domain.config import Priority
from .domain.decisions import Decision
from .domain.errors import Refusal, RefusedError
from .domain.receipt import Receipt
from .quoting.abilities import Ability

log = logging.getLogger(__name__)

WorkerAction = Spawn | Load | Stop | SetThreads


@dataclass(frozen=True)
class Granted:
    """A place in a model."""

    worker_id: int
    threads: int
    timeline: Mapping[str, float] = field(default_factory=dict)
    """Seconds that it waited, by phase."""


@dataclass(frozen=True)
class Reserved:
    """Bytes that are kept free for another program."""

    reservation: int


def _nobody(_: object) -> None:
    raise RuntimeError("the loop is not connected")


class Ticket:
    """One caller's side of a request."""

    def __init__(self, request: int) -> None:
        self.request = request
        self.outcome: asyncio.Future[Granted | Reserved | Receipt | None] = asyncio.get_running_loop().create_future()
        """The grant, the reservation, or how a load or unload ended; RefusedError if it was refused while it waited."""
        self._reports: asyncio.Queue[Report | None] = asyncio.Queue()
        self.outcome.add_done_callback(lambda _: self._reports.put_nowait(None))
        self.aborted: Refusal | None = None
        """Why a granted request was ended."""
        self.on_abort: Callable[[], object] = lambda: None
        """Called when a granted request was ended, to break off what it is doing."""
        self._gone = asyncio.Event()

    async def wait_aborted(self, within_s: float) -> Refusal | None:
        """Waits until a granted request was ended; None if it was not."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._gone.wait(), within_s)
        return self.aborted

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
            self._gone.set()
            self.on_abort()
        else:
            self.outcome.set_exception(RefusedError(why))
            # A caller that has left does not fetch it.
            self.outcome.exception()


class Loop:
    """Owns the core. All methods are for the event loop's thread."""

    def __init__(self, core: Core, handle: Callable[[Event], list[Action]] | None = None) -> None:
        """`handle` is what stands between the core and this, such as a recorder; None: nothing."""
        self.core = core
        self._handle = handle or core.handle
        self.ending = asyncio.Event()
        """Set when the supervisor is to end."""
        self.exited = asyncio.Event()
        """Set when everything is ended and the supervisor may leave."""
        self.failed: Exception | None = None
        """Why it has to end: a fault of the core, whose books can no longer be trusted, or a port that is closed."""
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._running = False
        self._tickets: dict[int, Ticket] = {}
        self._timers: dict[tuple[type, int], asyncio.TimerHandle] = {}
        self._ids = count(1)
        self._act: Callable[[WorkerAction], None] = _nobody
        self._find_plans: Callable[[FindPlans | FindTogether], None] = _nobody
        self._publish: Callable[[Notice], None] = _nobody
        self._note: Callable[[Decision], None] = _nobody

    def connect(
        self,
        act: Callable[[WorkerAction], None],
        find_plans: Callable[[FindPlans | FindTogether], None],
        publish: Callable[[Notice], None],
        note: Callable[[Decision], None],
    ) -> None:
        """Who does what the core wants done. None of them waits; what comes of it they submit as an event."""
        self._act, self._find_plans, self._publish, self._note = act, find_plans, publish, note

    def now_s(self) -> float:
        """The only clock that decisions see: monotonic seconds."""
        return self._loop.time()

    def submit(self, event: Event) -> None:
        """Takes an event in. If one is being handled, this one comes behind it, before the outer call returns."""
        self._events.append(event)
        if self._running:
            return
        self._running = True
        try:
            while self._events and not self.failed:
                for action in self._handle(self._events.popleft()):
                    self._carry_out(action)
            if self.core.state.ending:
                self.ending.set()
        except Exception as error:  # the core's own faults: see `failed`
            log.exception("a fault in the core: the supervisor ends")
            self.fail(error)
        finally:
            self._running = False

    def fail(self, error: Exception) -> None:
        """Nobody can rely on this process any more: it ends at once."""
        self.failed = error
        self.ending.set()
        self.exited.set()

    def request(
        self,
        model: str,
        kind: RequestKind,
        limit_s: float,
        options: LoadOptions,
        priority: Priority | None = None,
        *,
        progress: bool = False,
        reload: bool = False,
        caller: str = "",
        needs: Ability | None = None,
    ) -> "contextlib.AbstractAsyncContextManager[Ticket]":
        """The wish for a place in a model, or for its load. Leaving the block ends it, whatever the reason."""
        return self._ticket(
            lambda request: Requested(
                self.now_s(), request, model, kind, limit_s, options, priority, progress, reload, caller, needs
            )
        )

    def unload(self, model: str, limit_s: float, *, force: bool) -> "contextlib.AbstractAsyncContextManager[Ticket]":
        """The wish that a model goes."""
        return self._ticket(lambda request: UnloadRequested(self.now_s(), request, model, limit_s, force))

    def restart(self, model: str, limit_s: float, *, force: bool) -> "contextlib.AbstractAsyncContextManager[Ticket]":
        """The wish that a model gets a new process."""
        return self._ticket(lambda request: RestartRequested(self.now_s(), request, model, limit_s, force))

    def reserve(
        self, device: str, size_bytes: int, ttl_s: float, label: str, limit_s: float
    ) -> "contextlib.AbstractAsyncContextManager[Ticket]":
        """The wish that bytes are made free, and kept so; what was reserved stays when the block is left well."""
        return self._ticket(
            lambda request: ReservationRequested(self.now_s(), request, device, size_bytes, ttl_s, label, limit_s)
        )

    @contextlib.asynccontextmanager
    async def _ticket(self, event: Callable[[int], Event]) -> AsyncIterator[Ticket]:
        ticket = Ticket(next(self._ids))
        self._tickets[ticket.request] = ticket
        self.submit(event(ticket.request))
        try:
            yield ticket
        except BaseException:
            self._leave(ticket, Cancelled(self.now_s(), ticket.request))
            raise
        self._leave(ticket, Ended(self.now_s(), ticket.request))

    def streamed(self, ticket: Ticket) -> None:
        """The first part of an answer has gone to the caller."""
        self.submit(Streamed(self.now_s(), ticket.request))

    def _leave(self, ticket: Ticket, event: Ended | Cancelled) -> None:
        self._tickets.pop(ticket.request, None)
        self.submit(event)

    def _carry_out(self, action: Action) -> None:
        """What goes wrong here is no fault of the books."""
        try:
            self._do(action)
        except Exception:
            log.exception("could not be carried out: %.200s", action)

    def _do(self, action: Action) -> None:  # noqa: PLR0912  one line per action
        match action:
            case Spawn() | Load() | Stop() | SetThreads():
                self._act(action)
            case FindPlans() | FindTogether():
                self._find_plans(action)
            case Grant(request, worker_id, threads, timeline):
                if (ticket := self._tickets.get(request)) and not ticket.outcome.done():
                    ticket.outcome.set_result(Granted(worker_id, threads, timeline))
            case Complete(request, receipt):
                if (ticket := self._tickets.get(request)) and not ticket.outcome.done():
                    ticket.outcome.set_result(receipt)
            case GrantReservation(request, reservation):
                if (ticket := self._tickets.get(request)) and not ticket.outcome.done():
                    ticket.outcome.set_result(Reserved(reservation))
            case Refuse(request, why):
                if ticket := self._tickets.get(request):
                    ticket.refuse(why)
            case Report(request):
                if ticket := self._tickets.get(request):
                    ticket.report(action)
            case SetTimer(timer):
                self._set_timer(timer)
            case CancelDeadline(request):
                if handle := self._timers.pop((DeadlinePassed, request), None):
                    handle.cancel()
            case CancelExpiry(reservation):
                if handle := self._timers.pop((ReservationExpired, reservation), None):
                    handle.cancel()
            case Exit():
                self.exited.set()
            case Decided(decision):
                self._note(decision)
            case _:
                self._publish(action)

    def _set_timer(self, timer: Timed) -> None:
        match timer:
            case DeadlinePassed():
                about = timer.request
            case ReservationExpired():
                about = timer.reservation
            case PatienceEnded():
                about = timer.turn
            case _:
                about = timer.worker_id
        key = (type(timer), about)
        if handle := self._timers.pop(key, None):
            handle.cancel()
        self._timers[key] = self._loop.call_at(timer.at_s, self._ring, key, timer)

    def _ring(self, key: tuple[type, int], timer: Timed) -> None:
        del self._timers[key]
        self.submit(timer)
