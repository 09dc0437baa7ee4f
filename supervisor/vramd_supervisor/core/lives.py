"""What processes bring about: hello, progress, readiness, ends. Pure; records facts, the scheduler concludes."""

from dataclasses import replace

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import ModelFile
from ..domain.causes import RECORDED, Because
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import Refusal, refusal
from .actions import Complete, Load, Released, Stop
from .events import (
    DrainEnded,
    LoadLimitReached,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from .reconcile import reconcile, too_much
from .state import COMING, Entry, Incarnation, ModelState, Renewal, RequestState
from .world import World

HOST = "host"
"""The device that every process takes bytes of."""


def started(world: World, event: WorkerStarted) -> None:
    """A process said hello: it loads its model, or waits as the spare with the bytes it really takes.

    The very first one is started even where no spare is wanted: its hello tells what the engine can do.
    """
    incarnation = world.processes.get(event.incarnation)
    if incarnation is None or incarnation.exited:
        return
    learn(world, incarnation, event)
    if entry := world.owners.get(incarnation.id):
        if entry.state is ModelState.STARTING:
            load(world, entry, incarnation)
    elif not world.spare_wanted:
        stop(world, incarnation)
    elif event.idle_bytes <= world.ledger.free_bytes(HOST) + world.ledger.held_bytes([incarnation.id], HOST):
        world.promise(incarnation, {HOST: event.idle_bytes}, "the spare was measured")


def learn(world: World, incarnation: Incarnation, event: WorkerStarted) -> None:
    """What a process has said of itself."""
    incarnation.pid = event.pid
    world.spare_bytes = event.idle_bytes
    world.spare_wanted = world.config.server.spare


def _living(world: World, incarnation: int) -> Entry | None:
    """The model whose present process this is: news and timers of a former one, whose memory is not back, are late."""
    entry = world.owners.get(incarnation)
    return entry if entry and entry.current and entry.current.id == incarnation else None


def load(world: World, entry: Entry, incarnation: Incarnation) -> None:
    """The process of a model has started: it loads it."""
    world.move(entry, ModelState.LOADING, causes.STARTED)
    hand_over(world, entry, incarnation)


def hand_over(world: World, entry: Entry, incarnation: Incarnation) -> None:
    """Hands a started process its model."""
    assert incarnation.plan is not None
    incarnation.load_from_s = world.now_s
    threads = min(incarnation.plan.settings.threads, world.usable_cores)
    world.emit(Load(incarnation.id, entry.model, incarnation.plan, threads))


def progressed(world: World, event: LoadProgressed) -> None:
    """Passes the progress of a load on to those who wait for it."""
    entry = _living(world, event.incarnation)
    if entry and entry.state is ModelState.LOADING:
        world.report(entry, event.share, "reads the weights")


def ready(world: World, event: WorkerReady) -> None:
    """A model answers, if it takes no more than it may; else it is given back, and planned once more with what it took.

    Those who wait for it keep their places. A sacrificial model gets no second try.
    """
    entry = _living(world, event.incarnation)
    if entry is None or entry.current is None or entry.state is not ModelState.LOADING:
        return
    if overrun := reconcile(world, entry, entry.current, event.measured):
        assert entry.current.plan is not None
        settings = entry.current.plan.settings
        if settings in entry.taken or entry.model.sacrificial:
            why = _final(entry, too_much(entry, overrun))
            world.record_refusal(entry.model.id, why)
            world.refuse_queue(entry, why)
        entry.taken[settings] = overrun.needs
        numbers = {f"{device}_bytes": float(size) for device, size in overrun.needs.items()}
        because = causes.took_too_much(overrun.message)
        world.decide(
            Decision.because(because, DecisionKind.GIVE_BACK, entry.model.id, entry.current.id, numbers=numbers)
        )
        stop(world, entry.current, because)
        return
    settle_load(world, entry, entry.current, event)
    world.move(entry, ModelState.READY, causes.loaded(event.context_tokens))
    world.room_changed = True


def settle_load(world: World, entry: Entry, incarnation: Incarnation, event: WorkerReady) -> None:
    """A load has ended well; what it took is remembered, to foresee the next one."""
    assert incarnation.plan is not None
    entry.ran_out = False
    incarnation.context_tokens = event.context_tokens
    incarnation.measured = event.measured
    incarnation.ready_s = incarnation.last_used_s = world.now_s
    entry.load_s = world.now_s - incarnation.load_from_s
    world.loads.loaded(world.now_s, entry.model.id, world.now_s - incarnation.begun_s)
    weights_bytes = sum(need.weights_bytes for need in incarnation.plan.quote.devices.values())
    if isinstance(entry.model.source, ModelFile) and entry.load_s > 0:
        world.load_bytes_per_s = weights_bytes / entry.load_s


def load_refused(world: World, event: LoadRefused) -> None:
    """A process said why it cannot load: everybody who waits hears it, and the process goes.

    A file for which a device ran out of memory is planned once more, unless it is sacrificial: others may have taken
    what was free, and from now on it is quoted higher.
    """
    entry = _living(world, event.incarnation)
    if entry is None or entry.current is None or entry.state not in COMING:
        return
    exhausted = event.refusal.reason is Reason.MEMORY_EXHAUSTED and isinstance(entry.model.source, ModelFile)
    if exhausted and not entry.ran_out and not entry.model.sacrificial:
        entry.ran_out = True
        stop(world, entry.current, causes.refused(f"{event.refusal.message}; it is planned once more"))
        return
    entry.ran_out = False
    world.record_refusal(entry.model.id, event.refusal)
    world.refuse_queue(entry, _final(entry, event.refusal))
    stop(world, entry.current, causes.refused(event.refusal.message))


def load_limit_reached(world: World, event: LoadLimitReached) -> None:
    """Gives a load up that takes too long."""
    entry = _living(world, event.incarnation)
    if entry and entry.current and entry.state in COMING:
        why = timed_out(world, entry)
        world.record_refusal(entry.model.id, why)
        world.refuse_queue(entry, why)
        stop(world, entry.current, causes.hung())


def timed_out(world: World, entry: Entry) -> Refusal:
    """What callers hear of a load that takes too long."""
    model, limit_s = entry.model.id, world.config.server.load_deadline_s
    text = f"{model} was not ready after {limit_s:g} s (load_deadline_s); its process is ended"
    return refusal(Reason.LOAD_TIMEOUT, text, model=model, limitS=f"{limit_s:g}")


def drain_ended(world: World, event: DrainEnded) -> None:
    """Ends what still runs on a model that was asked to go."""
    entry = _living(world, event.incarnation)
    if entry and entry.current and entry.state is ModelState.DRAINING:
        assert entry.current.leaves
        because = entry.current.leaves.after("what ran on it had its time to end")
        why = world.unloaded(entry, because.words)
        world.record_refusal(entry.model.id, why)
        world.abort(entry.current, why)
        stop(world, entry.current, because)


def stop(world: World, incarnation: Incarnation, because: Because | None = None) -> None:
    """Has a process end; idempotent. Its row stays until its memory is back. Only a spare needs no cause."""
    if incarnation.stopping or incarnation.exited:
        return
    incarnation.stopping = True
    world.sort_anew(incarnation)
    if incarnation is world.spare:
        world.spare = None
    entry = world.owners.get(incarnation.id)
    draining = entry is not None and entry.current is incarnation and entry.state is ModelState.DRAINING
    if not draining:  # else it was on its way out before
        world.room_changed = True
    if entry:
        assert because
        incarnation.leaves = incarnation.leaves or because
        if entry.current is incarnation:
            world.move(entry, ModelState.STOPPING, because)
    world.emit(Stop(incarnation.id))


def exited(world: World, event: WorkerExited) -> None:
    """A process is gone. Fails what ran on it; its row stays until its memory is back.

    Callers that hold the model have it loaded anew; not one that is sacrificial and died by itself.
    """
    incarnation = world.processes.get(event.incarnation)
    if incarnation is None or incarnation.exited:
        return
    incarnation.exited = True
    world.sort_anew(incarnation)
    if not incarnation.stopping:  # else it was on its way out before
        world.room_changed = True
    entry = world.owners.get(incarnation.id)
    if entry is None:
        if incarnation is world.spare:
            world.spare = None
            world.spare_wanted = False
        return
    if entry.current is not incarnation:  # it was to take the place of another, and was given up
        return
    because = _record_end(world, entry, incarnation, event.exit)
    for request_id in sorted(incarnation.in_flight):
        request = world.requests[request_id]
        streaming = request.state is RequestState.STREAMING
        # It may be what the process died of, so nobody is told to send it once more.
        world.refuse(request, replace(crashed(entry, incarnation, event.exit, streaming=streaming), retry=False))
    if entry.state in COMING:
        world.refuse_queue(entry, crashed(entry, incarnation, event.exit, streaming=False))
    for hold in list(entry.holds.values()) if entry.model.sacrificial and not incarnation.stopping else ():
        world.refuse(hold, crashed(entry, incarnation, event.exit, streaming=False, idle=True))
    world.move(entry, ModelState.UNLOADED, because)
    entry.current = None
    world.hold_again(entry, because)


def _record_end(world: World, entry: Entry, incarnation: Incarnation, how: str) -> Because:
    """Why a process has ended; leaves a record of it, unless there is one already."""
    if incarnation.stopping:
        assert incarnation.leaves
        because = incarnation.leaves.after("its process was ended")
        words = incarnation.leaves.words
    else:
        because = causes.crashed(how)
        served = [world.requests[one].state is RequestState.STREAMING for one in incarnation.in_flight]
        idle = not served and entry.state not in COMING
        words = crashed(entry, incarnation, how, streaming=any(served), idle=idle).message
    if because.cause not in RECORDED:
        held = world.ledger.rows[incarnation.id]
        numbers = {f"held_on_{device}_bytes": float(size) for device, size in held.items()}
        if incarnation.ready_s is not None:
            numbers["loaded_s"] = world.now_s - incarnation.ready_s
        told = replace(because, words=words)
        record = Decision.because(told, DecisionKind.UNLOAD, entry.model.id, incarnation.id, numbers=numbers)
        world.decide(record)
    return because


def give_up_renewal(world: World, entry: Entry, why: Refusal | None) -> None:
    """No new process takes the place of the old one; its caller hears why, unless it goes another way or has left."""
    renewal, entry.renewal = entry.renewal, None
    if renewal is None:
        return
    request = world.requests.get(renewal.request)
    if renewal.incarnation:
        stop(world, renewal.incarnation, causes.refused(why.message) if why else renewal.because)
    if request and why:
        world.record_refusal(entry.model.id, why)
        world.refuse(request, why)
    let_others_wait(world, entry, renewal)


def let_others_wait(world: World, entry: Entry, renewal: Renewal) -> None:
    """Who has asked for a new process meanwhile waits in the queue, where it is seen whether that is needed still."""
    for behind in renewal.behind:
        if request := world.requests.get(behind):
            world.enqueue_ahead(entry, request)
    world.touch(entry)


def _final(entry: Entry, why: Refusal) -> Refusal:
    """What fails a sacrificial model is not to be tried again."""
    return replace(why, retry=why.retry and not entry.model.sacrificial)


def crashed(entry: Entry, incarnation: Incarnation, how: str, *, streaming: bool, idle: bool = False) -> Refusal:
    """What callers hear of a process that died."""
    model = entry.model.id
    reason = Reason.WORKER_CRASHED_MID_STREAM if streaming else Reason.WORKER_CRASHED
    when = "in the middle of an answer" if streaming else "before it had answered"
    when = "while nothing ran on it" if idle else when
    what = f"the process of {model} (pid {incarnation.pid}) ended {when}"
    if not incarnation.pid:
        what = f"a process for {model} never came up"
    text = f"{what}: {how}; `vramd logs {model}` says more"
    return _final(entry, refusal(reason, text, model=model, exit=how))


def released(world: World, event: MemoryReleased) -> None:
    """The memory of a process that is gone is back: only now its row is struck out."""
    incarnation = world.processes.get(event.incarnation)
    if incarnation is None or not incarnation.exited:
        return
    entry = world.owners.get(incarnation.id)
    name = entry.model.id if entry else "the spare"
    held = world.strike(incarnation, f"the memory of {name} (pid {incarnation.pid}) is back")
    receipt = replace(event.receipt, model=entry.model.id if entry else "", expected=held)
    if entry:
        world.emit(Released(receipt))
        world.touch(entry)
    for request_id in list(incarnation.unload_waiters):
        world.end(world.requests[request_id])
        world.emit(Complete(request_id, receipt))
