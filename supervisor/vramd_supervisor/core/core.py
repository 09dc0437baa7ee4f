"""The one place where state changes: events in, actions out. Pure: synchronous, no I/O, no clock.

    actions = core.handle(event)

Facts are recorded by `callers` and `lives`; what follows from them is decided by `scheduler`, at the end of each event.
"""

from collections.abc import Mapping

from typing_extensions import assert_never

from . import announcements, callers, lives, scheduler
from .actions import Action
from .config import Config
from .events import (
    AnnouncementExpired,
    AnnouncementWithdrawn,
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
    MemoryAnnounced,
    MemoryReleased,
    ModelUpdated,
    PatienceEnded,
    PlansFound,
    PlansRefused,
    Requested,
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
from .holders import holders
from .ledger import Account
from .line import Line
from .pressure import Reading
from .state import COMING, Entry, ModelState, RequestKind, RequestState
from .world import World


class Core:
    """The supervisor's mind. Not thread-safe: the loop alone calls it."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        """`spare_bytes` is what an idle worker takes, until one was measured."""
        self.world = World(config, accounts, usable_cores, spare_bytes)

    def handle(self, event: Event) -> list[Action]:
        """Takes in what has happened and returns what is to be done, in order. Raises only for faults of its own."""
        world = self.world
        world.now_s = max(world.now_s, event.at_s)
        self._record(event)
        scheduler.settle(world)
        actions, world.actions = world.actions, []
        return actions

    def _record(self, event: Event) -> None:  # noqa: PLR0912, PLR0915  one case per event
        world = self.world
        match event:
            case Started():
                world.spare_wanted = True
                scheduler.preload(world)
            case CatalogueRead():
                self._read_catalogue(event)
            case DeviceSampled():
                self._take_in(event)
            case Requested():
                callers.requested(world, event)
            case UnloadRequested():
                callers.unload_requested(world, event)
            case RestartRequested():
                callers.restart_requested(world, event)
            case ModelUpdated():
                callers.model_updated(world, event)
            case Streamed():
                callers.streamed(world, event)
            case Ended():
                callers.ended(world, event.request)
                scheduler.look_at_residents(world)
            case Cancelled():
                callers.ended(world, event.request)
                announcements.caller_left(world, event.request)
            case MemoryAnnounced():
                announcements.announced(world, event)
            case AnnouncementWithdrawn() | AnnouncementExpired():
                announcements.ended(world, event)
            case DeadlinePassed():
                callers.deadline_passed(world, event)
                announcements.deadline_passed(world, event.request)
            case PlansFound():
                scheduler.plans_found(world, event)
            case PlansRefused():
                scheduler.plans_refused(world, event)
            case WorkerStarted():
                lives.started(world, event)
            case LoadProgressed():
                lives.progressed(world, event)
            case WorkerReady():
                lives.ready(world, event)
                scheduler.look_at_residents(world)
            case LoadRefused():
                lives.load_refused(world, event)
            case WorkerExited():
                lives.exited(world, event)
            case MemoryReleased():
                lives.released(world, event)
            case KeepAliveEnded():
                if entry := world.owners.get(event.incarnation):
                    world.touch(entry)
            case DrainEnded():
                lives.drain_ended(world, event)
            case LoadLimitReached():
                lives.load_limit_reached(world, event)
            case PatienceEnded():
                world.room_changed = True
            case TogetherFound():
                scheduler.together_found(world, event)
            case ShutdownRequested():
                announcements.shutdown_requested(world)
                callers.shutdown_requested(world, event)
            case _:
                assert_never(event)

    def _take_in(self, event: DeviceSampled) -> None:
        """What others take, now and of late, and how scarce the device's memory is; one that is lost has none."""
        world, device, ledger = self.world, event.device, self.world.ledger
        ledger.observe(device, event.total_bytes, event.external_bytes)
        world.room_changed = True
        if not event.total_bytes:
            return
        used_bytes = event.used_bytes
        if used_bytes is None:
            used_bytes = min(event.total_bytes, event.external_bytes + ledger.held_bytes(world.processes, device))
        else:
            ledger.remember(device, event.at_s, self._doubtful_bytes(event))
        reading = Reading(
            event.at_s,
            event.total_bytes,
            used_bytes,
            ledger.accounts[device].headroom_bytes,
            world.alarm_share(device),
            ledger.held_bytes(holders(world, for_load=False).going, device),
            event.spilled_bytes,
        )
        world.press(device, reading)

    def _doubtful_bytes(self, event: DeviceSampled) -> int:
        """What a sample may count as others' that is of ours: of those that end, or of loads where nobody tells."""
        processes = self.world.processes.values()
        doubtful = {i.id for i in processes if i.stopping or i.exited}
        if not event.attributed:
            doubtful |= {i.id for i in processes if i.ready_s is None}
        return self.world.ledger.held_bytes(doubtful, event.device)

    def _read_catalogue(self, event: CatalogueRead) -> None:
        world = self.world
        for model_id, model in event.models.items():
            if model_id not in world.entries:
                world.entries[model_id] = Entry(model, Line(world.config.scheduling.starvation_bound_s))
            entry = world.entries[model_id]
            entry.model, entry.listed = model, True
        for model_id, entry in world.entries.items():
            if model_id not in event.models:
                entry.listed = False
                world.touch(entry)

    def check(self) -> None:
        """Asserts what must hold between two events."""
        world = self.world
        world.ledger.check()
        rows = set(world.processes) | set(world.announced)
        assert set(world.ledger.rows) == rows, "the rows are not the live and dying processes and the reservations"
        assert not world.processes.keys() & world.announced.keys(), "a process and a reservation share a row"
        assert world.queued == sum(len(entry.queue) for entry in world.entries.values())
        assert set(world.waiting) == {e.model.id for e in world.entries.values() if e.state is ModelState.QUEUED}
        assert not (world.touched or world.actions), "something was left undone"
        for entry in world.entries.values():
            self._check_entry(entry)
        for request in world.requests.values():
            self._check_request(request.id)
        for incarnation in world.processes.values():
            assert incarnation.in_flight <= world.requests.keys(), "a place is taken by nobody"
            assert not (incarnation.exited and incarnation.in_flight), "a dead process works"

    def _check_entry(self, entry: Entry) -> None:
        alive = [i for i in self.world.processes.values() if self.world.owners.get(i.id) is entry and not i.exited]
        name = entry.model.id
        assert len(alive) <= 1, f"{name} has two processes"
        assert (entry.current is None) == (not alive), f"{name} lost its process"
        has_process = entry.state not in {ModelState.UNLOADED, ModelState.QUEUED}
        assert has_process == bool(alive), f"{name} is {entry.state.name} with {len(alive)} processes"
        if entry.current and entry.current.plan:
            assert len(entry.current.in_flight) <= entry.current.plan.settings.parallel, f"{name} has too many at once"
            assert entry.state is not ModelState.READY or entry.current.pid, f"{name} is ready without a pid"
            assert not (entry.state in COMING and entry.current.in_flight), f"{name} works before it is ready"
        loads = {request.id for request in entry.queue if request.kind is not RequestKind.RUN}
        assert loads == set(entry.loads), f"{name} has lost callers that wait for its load"
        told = all(request.reload for request in entry.loads.values())
        assert entry.state is not ModelState.READY or told, f"{name} is ready and has not said so"
        assert not (entry.state is ModelState.UNLOADED and entry.queue), f"{name} has forgotten its callers"

    def _check_request(self, request_id: int) -> None:
        request = self.world.requests[request_id]
        incarnation = self.world.processes.get(request.incarnation or 0)
        queued = request_id in self.world.entries[request.model].queue
        running = incarnation is not None and request_id in incarnation.in_flight
        holding = request_id in self.world.entries[request.model].holds
        unloading = incarnation is not None and request_id in incarnation.unload_waiters
        places = queued + running + unloading + holding
        assert places == 1, f"request {request_id} is in {places} places"
        assert unloading == (request.kind is RequestKind.UNLOAD)
        assert queued == (request.state is RequestState.QUEUED and not unloading)
