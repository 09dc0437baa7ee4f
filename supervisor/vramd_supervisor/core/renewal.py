"""A new process in the place of one that serves: proven before that one goes. Pure.

1. It is planned: a file that is damaged or gone, or settings that cannot be, are refused, and the old process goes on.
2. Where there is room for both it is loaded beside the old one, which goes on until the new one is ready; a load that
   fails is refused. Then the old one drains, and the new one takes its place at once.
3. Where there is not, the old one goes first: that the new one loads is then known of its plan only.
"""

from collections.abc import Sequence

from typing_extensions import assert_never
from vramd_common.reasons import Reason

from ..domain.catalog import LoadOptions
from ..domain.causes import Awaited
from ..domain.errors import Refusal
from ..domain.quote import Plan
from ..quoting.placement import differences
from .actions import Complete, FindPlans, Report
from .admission import find_now, take_process
from .callers import differently, drain, held
from .events import LoadLimitReached, LoadProgressed, LoadRefused, WorkerExited, WorkerReady, WorkerStarted
from .holders import attainable
from .lives import crashed, give_up_renewal, hand_over, learn, let_others_wait, settle_load, timed_out
from .lobby import Waiting
from .reconcile import raised, reconcile, too_much
from .room import Begin, Wish, with_nearest
from .state import Entry, ModelState, Renewal
from .world import World

News = WorkerStarted | LoadProgressed | WorkerReady | LoadRefused | LoadLimitReached | WorkerExited

_ANSWERED = -1


def go_on(world: World, entry: Entry, renewal: Renewal) -> None:
    """Asks for the plans of the new process; nothing comes of it if its caller has left."""
    request = world.requests.get(renewal.request)
    if request is None:
        if not renewal.ready:
            give_up_renewal(world, entry, None)
    elif not renewal.turn:
        renewal.turn = world.next_turn()
        changed = LoadOptions(keep_alive_s=entry.keep_alive_now_s)
        renewal.options = request.options.over(changed).over(entry.model.options)
        world.emit(FindPlans(entry.model, renewal.options, renewal.turn, attainable(world, entry)))


def planned(world: World, entry: Entry, renewal: Renewal, found: Sequence[Plan], nearest: Sequence[Plan]) -> None:
    """The ways to place the new process are known: it begins beside the old one, or the old one goes first."""
    renewal.turn = _ANSWERED
    plans = [raised(plan, entry.taken.get(plan.settings, {})) for plan in found]
    decision = find_now(world, Wish(entry.model.id, [plan.quote.needs for plan in plans]), anew=entry)
    if isinstance(decision, Refusal):
        give_up_renewal(world, entry, with_nearest(decision, nearest))
        return
    plan, request = plans[decision.way], world.requests[renewal.request]
    if why := _hindrance(world, entry, renewal, plan):
        give_up_renewal(world, entry, why)
        return
    if not isinstance(find_now(world, Wish(entry.model.id, [plan.quote.needs])), Begin):
        _old_one_first(world, entry, renewal, "there is no room for both")
        return
    waiting = Waiting(entry.model.id, renewal.options, 0, request.priority, request.since_s)
    waiting.plans, waiting.because = tuple(plans), renewal.because
    renewal.incarnation = take_process(world, entry, waiting, plan)
    if renewal.incarnation.pid:
        hand_over(world, entry, renewal.incarnation)
    world.touch(entry)


def successor_of(world: World, incarnation: int) -> tuple[Entry, Renewal] | None:
    """The model whose next process this is."""
    entry = world.owners.get(incarnation)
    renewal = entry.renewal if entry else None
    if entry and renewal and renewal.incarnation and renewal.incarnation.id == incarnation:
        return entry, renewal
    return None


def told(world: World, entry: Entry, renewal: Renewal, news: News) -> None:
    """News of the new process."""
    incarnation = renewal.incarnation
    assert incarnation is not None and incarnation.plan is not None
    match news:
        case WorkerStarted():
            learn(world, incarnation, news)
            hand_over(world, entry, incarnation)
        case LoadProgressed():
            _report(world, renewal, Awaited.WEIGHTS, "reads the weights", news.share)
        case WorkerReady() if not renewal.ready:
            _ready(world, entry, renewal, news)
        case LoadRefused():
            if news.refusal.reason is Reason.MEMORY_EXHAUSTED:
                _old_one_first(world, entry, renewal, news.refusal.message)
            else:
                give_up_renewal(world, entry, news.refusal)
        case LoadLimitReached() if not renewal.ready:
            give_up_renewal(world, entry, timed_out(world, entry))
        case WorkerExited():
            incarnation.exited = True
            world.sort_anew(incarnation)
            world.room_changed = True
            give_up_renewal(world, entry, crashed(entry, incarnation, news.exit, streaming=False))
        case WorkerReady() | LoadLimitReached():  # twice, or late
            pass
        case _:
            assert_never(news)


def succeed(world: World, entry: Entry, renewal: Renewal) -> None:
    """The old process is gone: the new one takes its place, loading or ready.

    Its caller waits for it in the queue, unless all that was asked for is that it is another one.
    """
    entry.renewal = None
    request = world.requests.get(renewal.request)
    if request and renewal.ready and not request.reload:
        world.end(request)
        world.emit(Complete(request.id))
    elif request:
        world.enqueue_ahead(entry, request)
    let_others_wait(world, entry, renewal)
    incarnation = entry.current = renewal.incarnation
    if incarnation is None:
        return
    after = ModelState.LOADING if incarnation.pid else ModelState.STARTING
    because = renewal.because.after("its new process takes its place")
    world.move(entry, ModelState.READY if renewal.ready else after, because)
    world.room_changed = True


def _ready(world: World, entry: Entry, renewal: Renewal, news: WorkerReady) -> None:
    """It takes no more than it may: the old process goes. Else it is planned once more, with what it took."""
    incarnation = renewal.incarnation
    assert incarnation is not None and incarnation.plan is not None
    settings = incarnation.plan.settings
    overrun = reconcile(world, entry, incarnation, news.measured)
    if overrun and settings in entry.taken:
        give_up_renewal(world, entry, too_much(entry, overrun))
    elif overrun:
        entry.taken[settings] = overrun.needs
        _old_one_first(world, entry, renewal, overrun.message)
    elif why := _hindrance(world, entry, renewal, incarnation.plan):
        give_up_renewal(world, entry, why)
    else:
        renewal.ready = True
        settle_load(world, entry, incarnation, news)
        world.touch(entry)
        _report(world, renewal, Awaited.FORMER_PROCESS, "waits until what runs on the old process has ended")
        if entry.state is ModelState.READY:
            drain(world, entry, renewal.because, force=renewal.force)


def _hindrance(world: World, entry: Entry, renewal: Renewal, plan: Plan) -> Refusal | None:
    """Why a reload is given up, planned or loaded: it would be refused afterwards, or break a hold that began since."""
    request = world.requests[renewal.request]
    if not request.reload:
        return None
    if entry.holds:
        return held(world, entry, request)
    differs = differences(entry.model, plan.settings, request.options)
    return differently(entry, differs) if differs else None


def _old_one_first(world: World, entry: Entry, renewal: Renewal, why: str) -> None:
    """What could not be shown beside the old process has to do without."""
    _report(world, renewal, Awaited.FORMER_PROCESS, f"{why}: the old process goes first")
    if request := world.requests.get(renewal.request):
        world.enqueue_ahead(entry, request)
    give_up_renewal(world, entry, None)
    if entry.state is ModelState.READY:
        drain(world, entry, renewal.because, force=renewal.force)


def _report(world: World, renewal: Renewal, awaited: Awaited, message: str, share: float | None = None) -> None:
    if renewal.request in world.requests:
        world.emit(Report(renewal.request, ModelState.LOADING, share, message, awaited))
