"""A new process in the place of one that serves: proven before that one goes. Pure.

1. It is planned: a file that is damaged or gone, or settings that cannot be, are refused, and the old process goes on.
2. Where there is room for both it is loaded beside the old one, which goes on until the new one is ready; a load that
   fails is refused. Then the old one drains, and the new one takes its place at once.
3. Where there is not, the old one goes first: that the new one loads is then known of its plan only.
"""

from collections.abc import Sequence

from typing_extensions import assert_never
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain.causes import Awaited
from ..domain.errors import Refusal
from ..domain.quote import Plan
from ..quoting.placement import differences
from .actions import Complete, FindPlans, Report
from .admission import decide_admission, take_process
from .callers import differently, drain, held
from .events import LoadLimitReached, LoadProgressed, LoadRefused, WorkerExited, WorkerReady, WorkerStarted
from .eviction import available_if_evicted
from .lives import crashed, give_up_renewal, hand_over, learn, let_others_wait, settle_load, timed_out
from .lobby import PendingLoad
from .reconcile import raised, reconcile, too_much
from .room import Begin, Wish, with_alternatives
from .state import ModelRuntime, ModelState, Renewal
from .world import CoreState

News = WorkerStarted | LoadProgressed | WorkerReady | LoadRefused | LoadLimitReached | WorkerExited

_ANSWERED = -1


def go_on(state: CoreState, model: ModelRuntime, renewal: Renewal) -> None:
    """Asks for the plans of the new process; nothing comes of it if its caller has left."""
    request = state.requests.get(renewal.request)
    if request is None:
        if not renewal.ready:
            give_up_renewal(state, model, None)
    elif not renewal.turn:
        renewal.turn = state.next_turn()
        changed = LoadOptions(keep_alive_s=model.keep_alive_now_s)
        renewal.options = request.options.over(changed).over(model.spec.options)
        state.emit(FindPlans(model.spec, renewal.options, renewal.turn, available_if_evicted(state, model)))


def planned(
    state: CoreState, model: ModelRuntime, renewal: Renewal, found: Sequence[Plan], alternatives: Sequence[Plan]
) -> None:
    """The ways to place the new process are known: it begins beside the old one, or the old one goes first."""
    renewal.turn = _ANSWERED
    plans = [raised(plan, model.taken.get(plan.settings, {})) for plan in found]
    decision = decide_admission(state, Wish(model.id, [plan.quote.needs for plan in plans]), replaced=model)
    if isinstance(decision, Refusal):
        give_up_renewal(state, model, with_alternatives(decision, alternatives))
        return
    plan, request = plans[decision.way], state.requests[renewal.request]
    if why := _why_given_up(state, model, renewal, plan):
        give_up_renewal(state, model, why)
        return
    if not isinstance(decide_admission(state, Wish(model.id, [plan.quote.needs])), Begin):
        _old_one_first(state, model, renewal, "there is no room for both")
        return
    pending = PendingLoad(model.id, renewal.options, 0, request.priority, request.since_s)
    pending.found(plans, ())
    pending.because = renewal.because
    renewal.worker = take_process(state, model, pending, plan)
    if renewal.worker.pid:
        hand_over(state, model, renewal.worker)
    state.touch(model)


def successor_of(state: CoreState, worker_id: int) -> tuple[ModelRuntime, Renewal] | None:
    """The model whose next process this is."""
    worker = state.workers.get(worker_id)
    model = worker.owner if worker else None
    renewal = model.renewal if model else None
    if model and renewal and renewal.worker is worker:
        return model, renewal
    return None


def told(state: CoreState, model: ModelRuntime, renewal: Renewal, news: News) -> None:
    """News of the new process."""
    worker = renewal.worker
    assert worker is not None and worker.plan is not None
    match news:
        case WorkerStarted():
            learn(state, worker, news)
            hand_over(state, model, worker)
        case LoadProgressed():
            _report(state, renewal, Awaited.WEIGHTS, "reads the weights", news.share)
        case WorkerReady() if not renewal.ready:
            _ready(state, model, renewal, news)
        case LoadRefused():
            if news.refusal.reason is Reason.MEMORY_EXHAUSTED:
                _old_one_first(state, model, renewal, news.refusal.message)
            else:
                give_up_renewal(state, model, news.refusal)
        case LoadLimitReached() if not renewal.ready:
            give_up_renewal(state, model, timed_out(state, model))
        case WorkerExited():
            worker.exited = True
            give_up_renewal(state, model, crashed(model, worker, news.exit, streaming=False))
        case WorkerReady() | LoadLimitReached():  # twice, or late
            pass
        case _:
            assert_never(news)


def succeed(state: CoreState, model: ModelRuntime, renewal: Renewal) -> None:
    """The old process is gone: the new one takes its place, loading or ready.

    Its caller waits for it in the queue, unless all that was asked for is that it is another one.
    """
    model.renewal = None
    request = state.requests.get(renewal.request)
    if request and renewal.ready and not request.reload:
        state.end(request)
        state.emit(Complete(request.id))
    elif request:
        state.enqueue_ahead(model, request)
    let_others_wait(state, model, renewal)
    worker = model.current = renewal.worker
    if worker is None:
        return
    after = ModelState.LOADING if worker.pid else ModelState.STARTING
    because = renewal.because.after("its new process takes its place")
    state.move(model, ModelState.READY if renewal.ready else after, because)


def _ready(state: CoreState, model: ModelRuntime, renewal: Renewal, news: WorkerReady) -> None:
    """It takes no more than it may: the old process goes. Else it is planned once more, with what it took."""
    worker = renewal.worker
    assert worker is not None and worker.plan is not None
    settings = worker.plan.settings
    overrun = reconcile(state, model, worker, news.measured)
    if overrun and settings in model.taken:
        give_up_renewal(state, model, too_much(model, overrun))
    elif overrun:
        model.taken[settings] = overrun.needs
        _old_one_first(state, model, renewal, overrun.message)
    elif why := _why_given_up(state, model, renewal, worker.plan):
        give_up_renewal(state, model, why)
    else:
        renewal.ready = True
        settle_load(state, model, worker, news)
        state.touch(model)
        _report(state, renewal, Awaited.FORMER_PROCESS, "waits until what runs on the old process has ended")
        if model.state is ModelState.READY:
            drain(state, model, renewal.because, force=renewal.force)


def _why_given_up(state: CoreState, model: ModelRuntime, renewal: Renewal, plan: Plan) -> Refusal | None:
    """Why a reload is given up, planned or loaded: it would be refused afterwards, or break a hold that began since."""
    request = state.requests[renewal.request]
    if not request.reload:
        return None
    if model.holds:
        return held(state, model, request)
    differs = differences(model.spec, plan.settings, request.options)
    return differently(model, differs) if differs else None


def _old_one_first(state: CoreState, model: ModelRuntime, renewal: Renewal, why: str) -> None:
    """What could not be shown beside the old process has to do without."""
    _report(state, renewal, Awaited.FORMER_PROCESS, f"{why}: the old process goes first")
    if request := state.requests.get(renewal.request):
        state.enqueue_ahead(model, request)
    give_up_renewal(state, model, None)
    if model.state is ModelState.READY:
        drain(state, model, renewal.because, force=renewal.force)


def _report(state: CoreState, renewal: Renewal, awaited: Awaited, message: str, share: float | None = None) -> None:
    if renewal.request in state.requests:
        state.emit(Report(renewal.request, ModelState.LOADING, share, message, awaited))
