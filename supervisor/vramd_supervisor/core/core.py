"""The one place where state changes: events in, actions out. Pure: synchronous, no I/O, no clock.

    actions = core.handle(event)

Facts are recorded by `callers` and `lives`; what follows from them is decided by `scheduler`, at the end of each event.
"""

from collections.abc import Mapping

from typing_extensions import assert_never

from ..domain.config import Config
from . import announcements, callers, lives, overgrowth, renewal, scheduler
from .actions import Action
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
from .holders import holders, place_of, standings
from .ledger import Account
from .line import Line
from .policy import held_bytes
from .pressure import Reading
from .standings import Standing
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
            case (
                WorkerStarted() | LoadProgressed() | WorkerReady() | LoadRefused() | LoadLimitReached() | WorkerExited()
            ) if next_one := renewal.successor_of(world, event.incarnation):
                renewal.told(world, *next_one, event)
            case Started():
                world.spare_wanted = True
                scheduler.preload(world)
            case CatalogueRead():
                self._read_catalogue(event)
            case DeviceSampled():
                self._take_in(event)
                overgrowth.seen(world, event.device, event.taken_bytes)
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
            ours_bytes = ledger.reserved_bytes(device) - ledger.held_bytes(world.announced, device)
            used_bytes = min(event.total_bytes, event.external_bytes + ours_bytes)
        else:
            ledger.remember(device, event.at_s, self._doubtful_bytes(event))
        reading = Reading(
            event.at_s,
            event.total_bytes,
            used_bytes,
            ledger.accounts[device].headroom_bytes,
            world.alarm_share(device),
            held_bytes(holders(world, for_load=False).going, device),
            event.spilled_bytes,
        )
        world.press(device, reading)

    def _doubtful_bytes(self, event: DeviceSampled) -> int:
        """What a sample may count as others' that is of ours: of those that end, or of loads where nobody tells."""
        doubtful = [Standing.ENDING]
        if not event.attributed:
            doubtful += [Standing.COMING, Standing.COMING_KEPT, Standing.SPARE]
        crowds = standings(self.world).crowds
        return held_bytes([crowds[standing] for standing in doubtful], event.device)

    def _read_catalogue(self, event: CatalogueRead) -> None:
        world = self.world
        for model_id, model in event.models.items():
            if model_id not in world.entries:
                world.entries[model_id] = Entry(model, Line(world.config.scheduling.starvation_bound_s))
            entry = world.entries[model_id]
            entry.model, entry.listed = model, True
        for incarnation in world.processes.values():  # of which model they are, and so what may be done about them
            world.sort_anew(incarnation)
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
        self._check_standings()

    def _check_standings(self) -> None:
        """What was sorted step by step is what all at once would give."""
        world, known = self.world, self.world.standings
        assert known.places.keys() | known.stale.keys() == world.processes.keys(), "a process has no place"
        for incarnation in world.processes.values():
            if incarnation.id not in known.stale:
                found, right = known.places[incarnation.id], place_of(world, incarnation)
                assert found == right, f"process {incarnation.id} stands at {found}, not at {right}"
        for standing, crowd in zip(Standing, known.crowds, strict=True):
            members = {p.candidate.incarnation for p in known.places.values() if p.standing is standing}
            assert members == {one.incarnation for one in crowd}, f"{standing.name}: {members}"
            for device in world.ledger.accounts:
                total_bytes = sum(one.held_bytes.get(device, 0) for one in crowd)
                assert crowd.held_bytes.get(device, 0) == total_bytes, f"{standing.name} does not hold that on {device}"

    def _check_entry(self, entry: Entry) -> None:
        owned = [i for i in self.world.processes.values() if self.world.owners.get(i.id) is entry and not i.exited]
        coming = entry.renewal.incarnation if entry.renewal else None
        alive = [i for i in owned if i is entry.current or not (i is coming or i.stopping)]
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
        coming = self.world.entries[request.model].renewal
        renewing = coming is not None and request_id in (coming.request, *coming.behind)
        places = queued + running + unloading + holding + renewing
        assert places == 1, f"request {request_id} is in {places} places"
        assert unloading == (request.kind is RequestKind.UNLOAD)
        assert queued == (request.state is RequestState.QUEUED and not unloading and not renewing)
