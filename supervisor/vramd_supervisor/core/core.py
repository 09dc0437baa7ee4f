"""The one place where state changes: events in, actions out. Pure: synchronous, no I/O, no clock.

    actions = core.handle(event)

Each file that handles events has a table of them; what follows is decided by `scheduler`, at the end of each event.
"""

from collections.abc import Mapping

from ..domain.config import Config
from ..domain.errors import Refusal
from ..quoting.placement import LoadPlans
from . import (
    commands,
    cpu_threads,
    names,
    reconfiguration,
    renewal,
    requests,
    reservations,
    samples,
    scheduler,
    stalls,
    view,
)
from .actions import Action
from .core_state import CoreState, Handlers
from .cpu_load import CpuLoad
from .cpu_threads import shares
from .events import Event
from .eviction import available_if_evicted
from .forecast import LoadForecast, plan_load
from .ledger import Account
from .model import HANDLERS as MODEL_HANDLERS
from .restarts import MOST_RUNS_AGAIN
from .state import COMING, HAS_NO_PROCESS, ModelRuntime, ModelState, RequestKind, RequestState
from .view import DeviceBooks, ModelView, ReservationView, Resident

HANDLERS: Handlers = {
    **requests.HANDLERS,
    **reservations.HANDLERS,
    **commands.HANDLERS,
    **reconfiguration.HANDLERS,
    **MODEL_HANDLERS,
    **renewal.HANDLERS,  # news of a process that is to take another's place do not reach those of its model
    **stalls.HANDLERS,
    **samples.HANDLERS,
    **cpu_threads.HANDLERS,
    **scheduler.HANDLERS,
}


class Core:
    """The state machine of the supervisor. Not thread-safe: only the loop calls it."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        """`spare_bytes` is what an idle worker takes, until one was measured."""
        self.state = CoreState(config, accounts, usable_cores, spare_bytes)
        """For this package and its tests; others ask by the methods below."""

    def handle(self, event: Event) -> list[Action]:
        """Takes an event in and returns what is to be done, in order. Raises only for the core's own faults."""
        state = self.state
        state.now_s = max(state.now_s, event.at_s)
        HANDLERS[type(event)](state, event)
        scheduler.settle(state)
        actions, state.actions = state.actions, []
        return actions

    # Questions of others, answered by values that do not change.

    @property
    def ending(self) -> bool:
        return self.state.ending

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.state.config

    @property
    def draining(self) -> bool:
        """Whether nothing new is admitted."""
        return self.state.draining

    @property
    def running(self) -> int:
        """Requests that run."""
        return sum(len(worker.in_flight) for worker in self.state.workers.values())

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self.state.queued

    @property
    def cpu(self) -> CpuLoad:
        """The cores that generating workers share, and what other programs take of them."""
        return self.state.cpu

    def models(self) -> list[ModelView]:
        """Every model that callers find, by id."""
        return [model for model in self.all_models() if model.known]

    def all_models(self) -> list[ModelView]:
        """Those too that are no longer listed, of which something is remembered; by id."""
        return [view.model_view(self.state, model) for _, model in sorted(self.state.models.items())]

    def model(self, id_: str) -> ModelView | None:
        """The model of this id, listed or not."""
        found = self.state.models.get(id_)
        return view.model_view(self.state, found) if found else None

    def find(self, name: str) -> ModelView | Refusal:
        """The model that a caller means by a name; see `names.find`."""
        found = names.find(self.state.models, name)
        return found if isinstance(found, Refusal) else view.model_view(self.state, found)

    def residents(self, now_s: float) -> list[Resident]:
        """Every model that has a process or waits for one, by id."""
        return view.residents(self.state, now_s)

    def resident(self, id_: str, now_s: float) -> Resident | None:
        """One of them; None for a model that is not."""
        return view.resident(self.state, id_, now_s)

    def why_gone(self, id_: str) -> Refusal | None:
        """Why a model that was ready a moment ago has no process; None while it has one."""
        return view.gone(self.state, id_)

    def available_if_evicted(self, id_: str = "") -> dict[str, int]:
        """Bytes of each device that a load could have once all that may be evicted is gone.

        With an id, the present process of this model counts as such, pinned or not.
        """
        return available_if_evicted(self.state, self.state.models.get(id_))

    def plan_load(self, id_: str, ways: LoadPlans) -> LoadForecast:
        """Forecasts the outcome of this load if it came now."""
        return plan_load(self.state, self.state.models[id_], ways)

    def accounts(self) -> Mapping[str, Account]:
        """Each device, with its total bytes and those that may be promised."""
        return dict(self.state.ledger.accounts)

    def devices(self) -> dict[str, DeviceBooks]:
        """Bytes of each device in the ledger."""
        return view.books(self.state)

    def reservations(self, now_s: float) -> list[ReservationView]:
        return view.reservations(self.state, now_s)

    def ready_pids(self) -> list[int]:
        """Process ids of all that have loaded their model."""
        return view.ready_pids(self.state)

    def taken_bytes(self, device: str) -> int:
        """Bytes on a device of living processes that were ready once, by the ledger."""
        return view.taken_bytes(self.state, device)

    def check(self) -> None:
        """Asserts what must hold between two events."""
        state = self.state
        state.ledger.check()
        rows = set(state.workers) | set(state.reservations)
        assert set(state.ledger.rows) == rows, "the rows are not the live and dying processes and the reservations"
        assert not state.workers.keys() & state.reservations.keys(), "a process and a reservation share a row"
        assert state.queued == sum(len(model.queue) for model in state.models.values())
        assert state.joined == sum(len(model.loads) for model in state.models.values())
        assert set(state.pending_loads) == {e.id for e in state.models.values() if e.state is ModelState.QUEUED}
        assert not (state.touched or state.actions), "something was left undone"
        for model in state.models.values():
            self._check_model(model)
        for request in state.requests.values():
            self._check_request(request.id)
        for worker in state.workers.values():
            assert worker.in_flight <= state.requests.keys(), "a place is taken by no request"
            assert not (worker.exited and worker.in_flight), "a dead process works"
        assert state.threads == shares(state.cpu.left, state.threads_wanted), "threads are not shared as they should be"

    def _check_model(self, model: ModelRuntime) -> None:
        owned = [i for i in self.state.workers.values() if i.owner is model and not i.exited]
        coming = model.renewal.worker if model.renewal else None
        alive = [i for i in owned if i is model.current or not (i is coming or i.stopping)]
        name = model.id
        assert len(alive) <= 1, f"{name} has two processes"
        assert (model.current is None) == (not alive), f"{name} lost its process"
        has_process = model.state not in HAS_NO_PROCESS
        assert has_process == bool(alive), f"{name} is {model.state.name} with {len(alive)} processes"
        if model.current and model.current.plan:
            assert len(model.current.in_flight) <= model.current.plan.settings.parallel, f"{name} has too many at once"
            assert model.state is not ModelState.READY or model.current.pid, f"{name} is ready without a pid"
            assert not (model.state in COMING and model.current.in_flight), f"{name} works before it is ready"
        loads = {request.id for request in model.queue if request.kind is not RequestKind.RUN}
        assert loads == set(model.loads), f"{name} has lost callers that wait for its load"
        told = all(request.reload for request in model.loads.values())
        assert model.state is not ModelState.READY or told, f"{name} is ready and has not said so"
        idle = model.state in {ModelState.UNLOADED, ModelState.QUARANTINED}
        assert not (idle and model.queue), f"{name} has forgotten its callers"

    def _check_request(self, request_id: int) -> None:
        request = self.state.requests[request_id]
        worker = self.state.workers.get(request.worker_id or 0)
        queued = request_id in self.state.models[request.model].queue
        running = worker is not None and request_id in worker.in_flight
        holding = request_id in self.state.models[request.model].holds
        unloading = worker is not None and request_id in worker.unload_waiters
        coming = self.state.models[request.model].renewal
        renewing = coming is not None and request_id in (coming.request, *coming.behind)
        assert request.resumes <= MOST_RUNS_AGAIN, f"request {request_id} goes on for ever"
        places = queued + running + unloading + holding + renewing
        assert places == 1, f"request {request_id} is in {places} places"
        assert unloading == (request.kind is RequestKind.UNLOAD)
        assert queued == (request.state is RequestState.QUEUED and not unloading and not renewing)
