"""The one place where state changes: events in, actions out. Pure: synchronous, no I/O, no clock.

    actions = core.handle(event)

Facts are recorded by `callers` and `lives`; what follows from them is decided by `scheduler`, at the end of each event.
"""

from collections.abc import Collection, Mapping

from typing_extensions import assert_never

from ..domain.config import Config
from . import callers, lives, overgrowth, renewal, reservations, scheduler
from .actions import Action
from .events import (
    Cancelled,
    CatalogueRead,
    DeadlinePassed,
    DeviceSampled,
    DrainEnded,
    Ended,
    Event,
    KeepAliveEnded,
    LoadLimitReached,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    ModelUpdated,
    PatienceEnded,
    PlansFound,
    PlansRefused,
    Requested,
    ReservationExpired,
    ReservationReleased,
    ReservationRequested,
    RestartRequested,
    ShutdownRequested,
    Started,
    Streamed,
    TogetherFound,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from .ledger import Account
from .line import PriorityQueue
from .pressure import Reading
from .state import COMING, ModelRuntime, ModelState, Phase, RequestKind, RequestState
from .world import CoreState


class Core:
    """The supervisor's mind. Not thread-safe: the loop alone calls it."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        """`spare_bytes` is what an idle worker takes, until one was measured."""
        self.state = CoreState(config, accounts, usable_cores, spare_bytes)

    def handle(self, event: Event) -> list[Action]:
        """Takes in what has happened and returns what is to be done, in order. Raises only for faults of its own."""
        state = self.state
        state.now_s = max(state.now_s, event.at_s)
        self._record(event)
        scheduler.settle(state)
        actions, state.actions = state.actions, []
        return actions

    def _record(self, event: Event) -> None:  # noqa: PLR0912, PLR0915  one case per event
        state = self.state
        match event:
            case (
                WorkerStarted() | LoadProgressed() | WorkerReady() | LoadRefused() | LoadLimitReached() | WorkerExited()
            ) if next_one := renewal.successor_of(state, event.worker_id):
                renewal.told(state, *next_one, event)
            case Started():
                state.spare_wanted = True
                scheduler.preload(state)
            case CatalogueRead():
                self._read_catalogue(event)
            case DeviceSampled():
                self._take_in(event)
                overgrowth.seen(state, event.device, event.taken_bytes)
            case Requested():
                callers.requested(state, event)
            case UnloadRequested():
                callers.unload_requested(state, event)
            case RestartRequested():
                callers.restart_requested(state, event)
            case ModelUpdated():
                callers.model_updated(state, event)
            case Streamed():
                callers.streamed(state, event)
            case Ended():
                callers.ended(state, event.request)
            case Cancelled():
                callers.ended(state, event.request)
                reservations.caller_left(state, event.request)
            case ReservationRequested():
                reservations.requested(state, event)
            case ReservationReleased() | ReservationExpired():
                reservations.ended(state, event)
            case DeadlinePassed():
                callers.deadline_passed(state, event)
                reservations.deadline_passed(state, event.request)
            case PlansFound():
                scheduler.plans_found(state, event)
            case PlansRefused():
                scheduler.plans_refused(state, event)
            case WorkerStarted():
                lives.started(state, event)
            case LoadProgressed():
                lives.progressed(state, event)
            case WorkerReady():
                lives.ready(state, event)
            case LoadRefused():
                lives.load_refused(state, event)
            case WorkerExited():
                lives.exited(state, event)
            case MemoryReleased():
                lives.released(state, event)
            case KeepAliveEnded():
                worker = state.workers.get(event.worker_id)
                if worker and worker.owner:
                    state.touch(worker.owner)
            case DrainEnded():
                lives.drain_ended(state, event)
            case LoadLimitReached():
                lives.load_limit_reached(state, event)
            case PatienceEnded():
                pass  # what waits for room is asked after every event
            case TogetherFound():
                scheduler.together_found(state, event)
            case ShutdownRequested():
                reservations.shutdown_requested(state)
                callers.shutdown_requested(state, event)
            case _:
                assert_never(event)

    def _take_in(self, event: DeviceSampled) -> None:
        """What others take, now and of late, and how scarce the device's memory is; one that is lost has none."""
        state, device, ledger = self.state, event.device, self.state.ledger
        ledger.observe(device, event.total_bytes, event.external_bytes)
        if not event.total_bytes:
            return
        used_bytes = event.used_bytes
        if used_bytes is None:
            ours_bytes = ledger.reserved_bytes(device) - ledger.held_bytes(state.reservations, device)
            used_bytes = min(event.total_bytes, event.external_bytes + ours_bytes)
        else:
            ledger.remember(device, event.at_s, self._doubtful_bytes(event))
        reading = Reading(
            event.at_s,
            event.total_bytes,
            used_bytes,
            ledger.accounts[device].headroom_bytes,
            state.alarm_share(device),
            self._held_bytes(device, {Phase.DRAINING, Phase.ENDING}),
            event.spilled_bytes,
        )
        state.press(device, reading)

    def _doubtful_bytes(self, event: DeviceSampled) -> int:
        """What a sample may count as others' that is of ours: of those that end, or of loads where nobody tells."""
        phases = {Phase.ENDING} if event.attributed else {Phase.ENDING, Phase.LOADING, Phase.SPARE}
        return self._held_bytes(event.device, phases)

    def _held_bytes(self, device: str, phases: Collection[Phase]) -> int:
        state = self.state
        return state.ledger.held_bytes((w.id for w in state.workers.values() if w.phase in phases), device)

    def _read_catalogue(self, event: CatalogueRead) -> None:
        state = self.state
        for model_id, spec in event.models.items():
            if model_id not in state.models:
                state.models[model_id] = ModelRuntime(spec, PriorityQueue(state.config.scheduling.starvation_bound_s))
            model = state.models[model_id]
            model.spec, model.listed = spec, True
        for model_id, model in state.models.items():
            if model_id not in event.models:
                model.listed = False
                state.touch(model)

    def check(self) -> None:
        """Asserts what must hold between two events."""
        state = self.state
        state.ledger.check()
        rows = set(state.workers) | set(state.reservations)
        assert set(state.ledger.rows) == rows, "the rows are not the live and dying processes and the reservations"
        assert not state.workers.keys() & state.reservations.keys(), "a process and a reservation share a row"
        assert state.queued == sum(len(model.queue) for model in state.models.values())
        assert set(state.pending_loads) == {e.id for e in state.models.values() if e.state is ModelState.QUEUED}
        assert not (state.touched or state.actions), "something was left undone"
        for model in state.models.values():
            self._check_entry(model)
        for request in state.requests.values():
            self._check_request(request.id)
        for worker in state.workers.values():
            assert worker.in_flight <= state.requests.keys(), "a place is taken by nobody"
            assert not (worker.exited and worker.in_flight), "a dead process works"

    def _check_entry(self, model: ModelRuntime) -> None:
        owned = [i for i in self.state.workers.values() if i.owner is model and not i.exited]
        coming = model.renewal.worker if model.renewal else None
        alive = [i for i in owned if i is model.current or not (i is coming or i.stopping)]
        name = model.id
        assert len(alive) <= 1, f"{name} has two processes"
        assert (model.current is None) == (not alive), f"{name} lost its process"
        has_process = model.state not in {ModelState.UNLOADED, ModelState.QUEUED}
        assert has_process == bool(alive), f"{name} is {model.state.name} with {len(alive)} processes"
        if model.current and model.current.plan:
            assert len(model.current.in_flight) <= model.current.plan.settings.parallel, f"{name} has too many at once"
            assert model.state is not ModelState.READY or model.current.pid, f"{name} is ready without a pid"
            assert not (model.state in COMING and model.current.in_flight), f"{name} works before it is ready"
        loads = {request.id for request in model.queue if request.kind is not RequestKind.RUN}
        assert loads == set(model.loads), f"{name} has lost callers that wait for its load"
        told = all(request.reload for request in model.loads.values())
        assert model.state is not ModelState.READY or told, f"{name} is ready and has not said so"
        assert not (model.state is ModelState.UNLOADED and model.queue), f"{name} has forgotten its callers"

    def _check_request(self, request_id: int) -> None:
        request = self.state.requests[request_id]
        worker = self.state.workers.get(request.worker_id or 0)
        queued = request_id in self.state.models[request.model].queue
        running = worker is not None and request_id in worker.in_flight
        holding = request_id in self.state.models[request.model].holds
        unloading = worker is not None and request_id in worker.unload_waiters
        coming = self.state.models[request.model].renewal
        renewing = coming is not None and request_id in (coming.request, *coming.behind)
        places = queued + running + unloading + holding + renewing
        assert places == 1, f"request {request_id} is in {places} places"
        assert unloading == (request.kind is RequestKind.UNLOAD)
        assert queued == (request.state is RequestState.QUEUED and not unloading and not renewing)
