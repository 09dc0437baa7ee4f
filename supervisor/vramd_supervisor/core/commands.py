"""What callers command of models: to be unloaded, to stay longer; and of the supervisor: to drain, to end. Pure."""

from collections.abc import Mapping

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import Model
from ..domain.errors import refusal, shutting_down
from .actions import Refuse
from .core_state import CoreState, Handlers
from .events import (
    AdmissionClosed,
    AdmissionOpened,
    CatalogueRead,
    ModelReset,
    ModelUpdated,
    ShutdownRequested,
    UnloadRequested,
)
from .model import drain, move, stop
from .queues import PriorityQueue
from .renewal import give_up_renewal
from .requests import accept, addressed, refuse_holds, refuse_queue, unloaded
from .reservations import end_all
from .restarts import History
from .state import COMING, HAS_NO_PROCESS, ModelRuntime, ModelState, RequestKind, is_pinned


def unload_requested(state: CoreState, event: UnloadRequested) -> None:
    """Unloads a model; requests that wait are refused, those that run may finish unless forced.

    A load that waits for room is given up; there is no process then, so there is no receipt.
    """
    model = addressed(state, event.request, event.model, new_work=False)
    if model is None:
        return
    model.again = None
    give_up_renewal(state, model, unloaded(state, model))
    refuse_holds(state, model, unloaded(state, model))
    if model.state in {ModelState.READY, ModelState.QUEUED, ModelState.BACKOFF} | COMING:
        refuse_queue(state, model, unloaded(state, model))
    if model.state is ModelState.QUEUED:
        move(state, model, ModelState.UNLOADED, causes.UNLOAD.after("it waited for room"))
    elif model.state is ModelState.BACKOFF:
        move(state, model, ModelState.UNLOADED, causes.UNLOAD.after("it was to come back"))
    if model.current is None:
        text = f"{model.id} has no process that could be ended"
        state.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=model.id)))
        return
    request = accept(state, model, event, RequestKind.UNLOAD, LoadOptions())
    request.worker_id, model.current.dismissed = model.current.id, True
    model.current.unload_waiters.append(request.id)
    if model.state in COMING:
        stop(state, model.current, causes.UNLOAD)
    else:
        drain(state, model, causes.UNLOAD, force=event.force)


def model_updated(state: CoreState, event: ModelUpdated) -> None:
    """Changes how long a model stays, from now on and for its next lives.

    The time that an unpinned one stays, or that was changed, begins now, not when the model was last used.
    """
    model = state.models.get(event.model)
    if model is None:
        return
    if model.current and (event.keep_alive_s is not None or (event.pinned is False and is_pinned(model))):
        model.current.free_from_s = state.now_s
    if event.pinned is not None:
        model.pinned_now = event.pinned
    if event.priority is not None:
        model.priority_now = event.priority
    if event.keep_alive_s is not None:
        model.keep_alive_now_s = event.keep_alive_s
        if model.current:
            model.current.keep_alive_s = event.keep_alive_s
    state.touch(model)


def reset(state: CoreState, model: ModelRuntime) -> None:
    """Forgets the deaths of a model's processes: it is loaded again as if there had been none."""
    model.restarts = History()
    state.suspects.forget(model.id)
    if model.state is ModelState.QUARANTINED:
        move(state, model, ModelState.UNLOADED, causes.RESET)
    state.touch(model)


def model_reset(state: CoreState, event: ModelReset) -> None:
    """A caller ends a quarantine, or a pause."""
    if model := state.models.get(event.model):
        reset(state, model)


def catalogue_read(state: CoreState, event: CatalogueRead) -> None:
    """Takes in which models there are; one that is loaded or was changed stays known without its file."""
    list_models(state, event.models)


def list_models(state: CoreState, models: Mapping[str, Model]) -> None:
    """Makes these the models that there are."""
    for model_id, spec in models.items():
        if model_id not in state.models:
            state.models[model_id] = ModelRuntime(spec, PriorityQueue(state.config.scheduling.starvation_bound_s))
        model = state.models[model_id]
        if model.spec != spec:  # another file, or other settings
            reset(state, model)
        model.spec, model.listed, model.removed = spec, True, False
    for model_id, model in state.models.items():
        if model_id not in models:
            model.listed = False
            state.touch(model)


def admission_closed(state: CoreState, _: AdmissionClosed) -> None:
    """Admits no new work; what runs, waits or is held goes on."""
    state.draining = True


def admission_opened(state: CoreState, _: AdmissionOpened) -> None:
    """Admits work again."""
    state.draining = False


def shutdown_requested(state: CoreState, event: ShutdownRequested) -> None:
    """Ends everything: requests that wait are refused, those that run may finish unless forced."""
    end_all(state)
    state.ending = True
    why = shutting_down()
    for model in state.models.values():
        give_up_renewal(state, model, why)
        refuse_holds(state, model, why)
        refuse_queue(state, model, why)
        if model.state in HAS_NO_PROCESS - {ModelState.UNLOADED}:
            move(state, model, ModelState.UNLOADED, causes.SHUTDOWN)
        elif model.current and model.state in COMING:
            stop(state, model.current, causes.SHUTDOWN)
        elif model.current and model.state is not ModelState.STOPPING:
            drain(state, model, causes.SHUTDOWN, force=event.force)
    if state.spare:
        stop(state, state.spare)


HANDLERS: Handlers = {
    UnloadRequested: unload_requested,
    ModelUpdated: model_updated,
    ModelReset: model_reset,
    CatalogueRead: catalogue_read,
    AdmissionClosed: admission_closed,
    AdmissionOpened: admission_opened,
    ShutdownRequested: shutdown_requested,
}
