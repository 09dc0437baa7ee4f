"""Takes in a changed configuration, by one event: limits, rules and models are all new, or nothing is. Pure.

1. Budgets and headrooms are the new ones. Where more is promised than a lower budget allows, idle models are evicted;
   busy, pinned and held ones never, so nothing more is promised there until they are gone.
2. A model that is no longer there is drained. Its waiting callers are refused.
3. A process whose model is configured otherwise by now goes on until nothing runs on it, then another takes its place.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import Model, ModelFile
from ..domain.causes import Because, Beneficiary, Cause
from ..domain.device_view import Limits
from ..domain.errors import in_words, refusal
from .actions import FindPlans
from .admission import evict
from .commands import list_models
from .core_state import CoreState, Handlers
from .events import ConfigurationRead
from .eviction import EvictionIndex, available_if_evicted, held_bytes, victims
from .model import drain, move, stop
from .renewal import give_up_renewal
from .requests import refuse_holds, refuse_queue
from .state import COMING, ModelRuntime, ModelState, keep_alive_s


def configuration_read(state: CoreState, event: ConfigurationRead) -> None:
    """Takes in all of it."""
    before = {model.id: model.spec for model in state.models.values()}
    spare, state.config = state.config.server.spare, event.config
    if spare != event.config.server.spare:
        state.spare_wanted = event.config.server.spare
        if state.spare and not state.spare_wanted:
            stop(state, state.spare)
    _limit(state, event.limits)
    list_models(state, event.models)
    for id_ in event.removed:
        if model := state.models.get(id_):
            _remove(state, model)
    for id_, model in list(state.models.items()):
        if id_ in before and id_ in event.models:
            _change(state, model, before[id_])
        state.touch(model)


HANDLERS: Handlers = {ConfigurationRead: configuration_read}


def _limit(state: CoreState, limits: Mapping[str, Limits]) -> None:
    for device, may in limits.items():
        state.ledger.limit(device, may.budget_bytes, may.headroom_bytes)
        if state.ledger.over_budget_bytes(device) > 0:
            state.over_budget.add(device)
    if limits:
        state.ledger_changed("the configuration has changed")


def _remove(state: CoreState, model: ModelRuntime) -> None:
    why = refusal(Reason.MODEL_NOT_FOUND, f"{model.id} was removed from the configuration", model=model.id)
    model.again, model.removed = None, True
    if model.current:
        model.current.dismissed = True
    give_up_renewal(state, model, why)
    refuse_holds(state, model, why)
    refuse_queue(state, model, why)
    if model.state is ModelState.QUEUED:
        move(state, model, ModelState.UNLOADED, causes.REMOVED)
    elif model.current and model.state in COMING:
        stop(state, model.current, causes.REMOVED)
    elif model.current and model.state is ModelState.READY:
        drain(state, model, causes.REMOVED)


def _change(state: CoreState, model: ModelRuntime, was: Model) -> None:
    """Marks the processes of a model that is loaded otherwise than it would be now."""
    spec = model.spec
    if model.current and spec.options.keep_alive_s != was.options.keep_alive_s:
        model.current.keep_alive_s, model.current.free_from_s = keep_alive_s(model), state.now_s
    if _loaded_as(spec) == _loaded_as(was):
        return
    for worker in state.workers.values():
        worker.outdated = worker.outdated or worker.owner is model
    if model.again is not None:
        model.again = LoadOptions(keep_alive_s=model.keep_alive_now_s).over(spec.options)
    if model.state is ModelState.QUEUED:
        _plan_again(state, model)


def _loaded_as(spec: Model) -> tuple[object, str, LoadOptions]:
    """What a process has of its model's configuration."""
    source = spec.source.path if isinstance(spec.source, ModelFile) else spec.source
    return source, spec.warm_prompt, replace(spec.options, keep_alive_s=None)


def _plan_again(state: CoreState, model: ModelRuntime) -> None:
    """A load that waits for room is planned once more; what its caller asked for still stands."""
    pending = state.pending_loads[model.id]
    state.admission_queue.remove(pending)
    asked = model.queue.first().options if model.queue else LoadOptions()
    changed = LoadOptions(keep_alive_s=model.keep_alive_now_s)
    pending.options, pending.turn = asked.over(changed).over(model.spec.options), state.next_turn()
    pending.found((), ())
    pending.patience_until_s = -math.inf  # its timer was for the former turn
    state.emit(FindPlans(model.spec, pending.options, pending.turn, available_if_evicted(state)))


def keep_within_budgets(state: CoreState) -> None:
    """Evicts idle models until no more is promised than a lowered budget allows; busy ones once they are idle."""
    for device in sorted(state.over_budget):
        over_bytes = state.ledger.over_budget_bytes(device)
        if over_bytes <= 0:
            state.over_budget.discard(device)
            continue
        index = EvictionIndex(state, for_load=True)
        missing_bytes = over_bytes - held_bytes(index.going, device)
        idle = [one for one in (*index.reused, *index.idle) if one.held_bytes.get(device)]
        if missing_bytes <= 0 or not idle:
            continue
        picked = victims(idle, {device: missing_bytes}) or tuple(one.worker.id for one in idle)
        words = f"{in_words(over_bytes)} more are promised on {device} than its budget now allows"
        evict(
            state, Beneficiary("a lower budget"), Because(Cause.EVICTED_FOR_BUDGET, words), picked, {device: over_bytes}
        )
