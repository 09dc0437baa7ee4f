"""Replaces the process of a model that serves by a new one, proven before the old one goes. Pure.

1. It is planned: a file that is damaged or gone, or settings that cannot be, are refused, and the old process goes on.
2. Where there is room for both it is loaded beside the old one, which goes on until the new one is ready; a load that
   fails is refused. Then the old one drains, and the new one takes its place at once.
3. Where there is not, the old one goes first: that the new one loads is then known of its plan only.
"""

from collections.abc import Callable, Sequence

from typing_extensions import assert_never
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.causes import Awaited, Because
from ..domain.errors import Refusal, refusal
from ..domain.quote import Plan
from ..quoting.placement import differences
from .actions import Complete, FindPlans, Refuse, Report
from .admission import take_process
from .core_state import CoreState, Handlers
from .deaths import crashed, take_death_in
from .events import (
    LoadLimitReached,
    LoadProgressed,
    LoadRefused,
    RestartRequested,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from .eviction import available_if_evicted
from .model import HANDLERS as MODEL_HANDLERS
from .model import drain, hand_over, learn_of_load, learn_of_start, move, stop, timed_out
from .reconcile import raised, reconcile, too_much
from .requests import accept, addressed, end, enqueue_ahead, held, leave_queue, loaded_differently, move_ahead, refuse
from .room import Begin, Claim, decide_admission, with_alternatives
from .state import GOING, ModelRuntime, ModelState, PendingLoad, Renewal, Request, RequestKind

News = WorkerStarted | LoadProgressed | WorkerReady | LoadRefused | LoadLimitReached | WorkerExited

_ANSWERED = -1


def restart_requested(state: CoreState, event: RestartRequested) -> None:
    """Gives a model a new process with the same settings; the caller is answered when that one serves."""
    model = addressed(state, event.request, event.model, new_work=True)
    if model is None:
        return
    if model.current is None or model.current.plan is None or model.state in GOING:
        text = f"{event.model} is {model.state.name}: there is no process that could be replaced"
        state.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=event.model)))
        return
    same = model.current.plan.settings.again(model.current.keep_alive_s)
    request = accept(state, model, event, RequestKind.LOAD, same)
    replace_process(state, model, request, causes.RESTART, force=event.force)


def replace_process(
    state: CoreState, model: ModelRuntime, first: Request, because: Because, *, force: bool = False
) -> None:
    """Replaces a process once a new one is proven; one that is still loading is stopped, and its caller goes ahead.

    A caller that wants other settings is refused while another one holds the model with those that it has.
    """
    if first.reload and model.holds:
        refuse(state, first, held(state, model, first))
    elif model.state is not ModelState.READY:
        move_ahead(model, first)
        assert model.current is not None
        stop(state, model.current, because)
    else:
        leave_queue(state, first)
        if model.renewal:
            first.planned = False
            model.renewal.behind.append(first.id)
        else:
            model.renewal = Renewal(first.id, because, force)
            state.touch(model)


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
    """The plans of the new process are known: it begins beside the old one, or the old one goes first."""
    renewal.turn = _ANSWERED
    plans = [raised(plan, model.taken.get(plan.settings, {})) for plan in found]
    decision = decide_admission(state, Claim(model.id, [plan.quote.needs for plan in plans]), replaced=model)
    if isinstance(decision, Refusal):
        give_up_renewal(state, model, with_alternatives(decision, alternatives))
        return
    plan, request = plans[decision.way], state.requests[renewal.request]
    if why := _why_given_up(state, model, renewal, plan):
        give_up_renewal(state, model, why)
        return
    if not isinstance(decide_admission(state, Claim(model.id, [plan.quote.needs])), Begin):
        _old_one_first(state, model, renewal, "there is no room for both")
        return
    pending = PendingLoad(model.id, renewal.options, 0, request.priority, request.since_s, renewal.because)
    pending.found(plans, ())
    renewal.worker = take_process(state, model, pending, plan)
    if renewal.worker.pid:
        hand_over(state, model, renewal.worker)
    state.touch(model)


def succeed(state: CoreState, model: ModelRuntime, renewal: Renewal) -> None:
    """The old process is gone: the new one takes its place, loading or ready.

    Its caller waits for it in the queue, unless all that was asked for is that it is another one.
    """
    model.renewal = None
    request = state.requests.get(renewal.request)
    if request and renewal.ready and not request.reload:
        end(state, request)
        state.emit(Complete(request.id))
    elif request:
        enqueue_ahead(state, model, request)
    _let_others_wait(state, model, renewal)
    worker = model.current = renewal.worker
    if worker is None:
        return
    after = ModelState.LOADING if worker.pid else ModelState.STARTING
    because = renewal.because.after("its new process takes its place")
    move(state, model, ModelState.READY if renewal.ready else after, because)


def give_up_renewal(state: CoreState, model: ModelRuntime, why: Refusal | None) -> None:
    """Gives the new process up; its caller hears why, unless it goes another way or has left."""
    renewal, model.renewal = model.renewal, None
    if renewal is None:
        return
    request = state.requests.get(renewal.request)
    if renewal.worker:
        stop(state, renewal.worker, causes.refused(why.message) if why else renewal.because)
    if request and why:
        state.record_refusal(model.id, why)
        refuse(state, request, why)
    _let_others_wait(state, model, renewal)


def _let_others_wait(state: CoreState, model: ModelRuntime, renewal: Renewal) -> None:
    """Further requests for a new process wait in the queue, where it is seen whether that is still needed."""
    for behind in renewal.behind:
        if request := state.requests.get(behind):
            enqueue_ahead(state, model, request)
    state.touch(model)


def _told(state: CoreState, model: ModelRuntime, renewal: Renewal, news: News) -> None:
    """Takes in news of the new process."""
    worker = renewal.worker
    assert worker is not None and worker.plan is not None
    match news:
        case WorkerStarted():
            learn_of_start(state, worker, news)
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
            take_death_in(state, model, worker, news)
            give_up_renewal(state, model, crashed(model, worker, news.exit, streaming=False))
        case WorkerReady() | LoadLimitReached():  # twice, or late
            pass
        case _:
            assert_never(news)


def _or_of_new_one(handler: Callable[[CoreState, News], None]) -> Callable[[CoreState, News], None]:
    """Lets `handler` have only those events that are not of a process that is to take another's place."""

    def handle(state: CoreState, event: News) -> None:
        worker = state.workers.get(event.worker_id)
        model = worker.owner if worker else None
        if model and model.renewal and model.renewal.worker is worker:
            _told(state, model, model.renewal, event)
        else:
            handler(state, event)

    return handle


_NEWS = (WorkerStarted, LoadProgressed, WorkerReady, LoadRefused, LoadLimitReached, WorkerExited)
HANDLERS: Handlers = {
    RestartRequested: restart_requested,
    **{kind: _or_of_new_one(MODEL_HANDLERS[kind]) for kind in _NEWS},
}


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
        worker.context_tokens, worker.measured = news.context_tokens, news.measured
        learn_of_load(state, model, worker)
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
    return loaded_differently(model, differs) if differs else None


def _old_one_first(state: CoreState, model: ModelRuntime, renewal: Renewal, why: str) -> None:
    """The new process could not be proven beside the old one: it is loaded once that one is gone."""
    _report(state, renewal, Awaited.FORMER_PROCESS, f"{why}: the old process goes first")
    if request := state.requests.get(renewal.request):
        enqueue_ahead(state, model, request)
    give_up_renewal(state, model, None)
    if model.state is ModelState.READY:
        drain(state, model, renewal.because, force=renewal.force)


def _report(state: CoreState, renewal: Renewal, awaited: Awaited, message: str, share: float | None = None) -> None:
    if renewal.request in state.requests:
        state.emit(Report(renewal.request, ModelState.LOADING, share, message, awaited))
