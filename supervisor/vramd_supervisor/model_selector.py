"""Chooses the model for a task: by the pure rules, and by plans for the few best candidates."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from vramd_common.load_settings import DEFAULT_CONTEXT_TOKENS, LoadOptions
from vramd_common.reasons import Reason

from .core.events import Requested
from .core.forecast import LoadForecast
from .core.state import COMING, ModelState, RequestKind
from .core.view import ModelView
from .domain.catalog import Model, ModelFile, Problem, Simulation, why_no_task
from .domain.config import Priority
from .domain.errors import Refusal, RefusedError, in_words, refusal
from .loop import Loop
from .quoting.placement import UNKNOWN_CONTEXT_TOKENS, differences, with_other_settings
from .selection.specialties import TASK_PREFIX, task_of
from .selection.tasks import Candidate, Choice, Fit, Readiness, Wish, choose
from .wire_status import incident
from .workers.planning import Planning

log = logging.getLogger(__name__)

PLAN_S = 5.0
"""A choice waits no longer for the plans of candidates; a plan that takes longer serves the next choice."""
MOST_PLANNED = 4
"""Candidates that are planned for one choice."""

_Found: TypeAlias = tuple[Fit, str]
"""A fit, and the words for it."""


class ModelSelector:
    """For the event loop's thread."""

    def __init__(
        self,
        loop: Loop,
        planning: Planning,
        look_again: Callable[[], Awaitable[None]],
        load_deadline_s: Callable[[], float],
    ) -> None:
        """`look_again` rereads files that could not be read, if they have changed."""
        self._loop = loop
        self._look_again = look_again
        self._planning = planning
        self._load_deadline_s = load_deadline_s
        self._loads: dict[str, asyncio.Task[None]] = {}
        """By task: the load of its best model, while a lighter one answers."""
        self._plans: set[asyncio.Task[_Found]] = set()

    async def resolve(
        self,
        model: str,
        options: LoadOptions | None,
        *,
        light_now: bool = False,
        vectors: bool = False,
    ) -> str:
        """Returns the id of the model that a call is for: for "task:NAME" the best one, else the one that is meant.

        A file that had a problem is looked at again. A name that no model has comes back: the core refuses it.

        `vectors`: the call is for embeddings. With `light_now` it does not wait where a loaded model suits, and the
        better one is loaded in the background: from the caller's next await on, after its own request was submitted.
        Raises RefusedError.
        """
        if not model.startswith(TASK_PREFIX) or self._loop.core.model(model):
            return await self._meant(model)
        asked = options or LoadOptions()
        task = model.removeprefix(TASK_PREFIX)
        if why := why_no_task(task):
            raise RefusedError(refusal(Reason.FIELD_INVALID, f"model: {why}", field="model"))
        wish = Wish(task, context_tokens=asked.context_tokens or 0, vectors=vectors)
        if light_now:
            quick = _accepted(choose(list(self._candidates(asked).values()), replace(wish, light_now=True)))
            if quick.better:
                self._begin_load(wish, asked)
                return quick.model
        return (await self.select(wish, asked)).model

    async def _meant(self, name: str) -> str:
        found = self._loop.core.find(name)
        if isinstance(found, Refusal) or (not found.worker_id and _problem(found.spec)):
            await self._look_again()
            found = self._loop.core.find(name)
        return name if isinstance(found, Refusal) else found.id

    async def select(self, wish: Wish, options: LoadOptions) -> Choice:
        """The best model for a wish. Raises RefusedError.

        Candidates are taken to fit until they come out best; then it is computed, which takes seconds at most.
        """
        end_s = self._loop.now_s() + PLAN_S
        known: dict[str, _Found] = {}
        if any(_problem(model.spec) for model in self._loop.core.all_models()):
            await self._look_again()
        while True:
            candidates = self._candidates(options)
            for id_, found in known.items():
                if id_ in candidates and candidates[id_].fit is Fit.LIKELY:
                    candidates[id_] = replace(candidates[id_], fit=found[0], about_fit=found[1])
            choice = _accepted(choose(list(candidates.values()), wish))
            left_s = end_s - self._loop.now_s()
            if candidates[choice.model].fit is not Fit.LIKELY or len(known) == MOST_PLANNED or left_s <= 0:
                return choice
            planned = await self._planned(candidates[choice.model].model, wish, options, left_s)
            if planned is None:
                return choice
            if self._refused(choice.model):
                # A model that the engine cannot run is out, and takes no time from the others.
                end_s = self._loop.now_s() + PLAN_S
            else:
                known[choice.model] = planned

    def _candidates(self, options: LoadOptions) -> dict[str, Candidate]:
        """Every model that is known, as it is at this moment."""
        core, problem = self._loop.core, self._planning.problem
        room = core.available_if_evicted()
        budgets = {device: account.budget_bytes for device, account in core.accounts().items()}
        return {one.id: _candidate(one, problem(one.spec), options, room, budgets) for one in core.models()}

    def _refused(self, model: str) -> bool:
        """Whether the engine has something against it."""
        found = self._loop.core.model(model)
        return found is not None and self._planning.problem(found.spec) is not None

    async def _planned(self, model: Model, wish: Wish, options: LoadOptions, within_s: float) -> _Found | None:
        """Whether a model fits, computed; None if that takes longer."""
        plan = asyncio.get_running_loop().create_task(self._plan(model, _for_context(model, wish, options)))
        self._plans.add(plan)
        plan.add_done_callback(self._plans.discard)
        await asyncio.wait({plan}, timeout=within_s)
        return plan.result() if plan.done() else None

    async def _plan(self, model: Model, options: LoadOptions) -> _Found:
        core = self._loop.core
        try:
            ways = await self._planning.ways(model, options, core.available_if_evicted())
        except Exception:  # the caller may have left
            incident_id, ways = incident(f"a fault while {model.id} was quoted")
            log.exception("incident %s", incident_id)
        if isinstance(ways, Refusal):
            return Fit.NOT, ways.message
        forecast = core.plan_load(model.id, ways)
        if not forecast.fits:
            return Fit.NOT, forecast.message
        if forecast.victims or forecast.message:
            return Fit.AFTER_OTHERS, _after(forecast)
        return Fit.NOW, "there is room for it"

    def _begin_load(self, wish: Wish, options: LoadOptions) -> None:
        """One load at a time for each task."""
        task = task_of(wish.task)
        if task not in self._loads:
            self._loads[task] = asyncio.get_running_loop().create_task(self._load_best(wish, options))
            self._loads[task].add_done_callback(lambda _: self._loads.pop(task))

    async def _load_best(self, wish: Wish, options: LoadOptions) -> None:
        try:
            choice = await self.select(wish, options)
            if choice.loaded or not choice.fits:
                return
            log.info("%s is loaded for the task %s, while a lighter model answers", choice.model, wish.task)
            event = partial(
                Requested,
                model=choice.model,
                kind=RequestKind.LOAD,
                limit_s=self._load_deadline_s(),
                options=options,
                priority=Priority.NORMAL,
            )
            async with self._loop.request(event) as ticket:
                await ticket.outcome
        except RefusedError as error:
            log.warning("no better model is loaded for the task %s: %s", wish.task, error)
        except Exception:  # no caller waits for it
            incident_id, _ = incident("a fault in a load for a task")
            log.exception("incident %s", incident_id)


def _candidate(
    one: ModelView,
    problem: Problem | None,
    options: LoadOptions,
    room: Mapping[str, int],
    budgets: Mapping[str, int],
) -> Candidate:
    """A model as it is at this moment; bytes of each device: `room` is what it could give, `budgets` what ever."""
    model, plan = one.spec, one.plan
    file = model.source if isinstance(model.source, ModelFile) else None
    if one.state is ModelState.READY and plan:
        readiness = Readiness.LOADED if one.has_place else Readiness.BUSY
        if differs := differences(model, plan.settings, options):
            return Candidate(model, readiness, Fit.NOT, with_other_settings("it", differs), one.context_tokens)
        return Candidate(model, readiness, Fit.NOW, context_tokens=one.context_tokens)
    if problem:
        return Candidate(model, hindrance=problem.text)
    if one.state is ModelState.QUARANTINED:
        return Candidate(model, hindrance="its processes died too often")
    trained_tokens = file.trained_context_tokens if file else 0
    if one.state in COMING and plan:
        return Candidate(model, Readiness.COMING, Fit.NOW, "its load has begun", plan.settings.context_tokens)
    room_bytes = sum(max(0, size) for size in room.values())
    if isinstance(model.source, Simulation):
        for device, need in model.source.memory.items():
            if need > budgets.get(device, 0):
                words = (
                    f"it needs {in_words(need)} on {device}, which may give {in_words(budgets.get(device, 0))} in all"
                )
                return Candidate(model, fit=Fit.NOT, about_fit=words)
    elif file and file.size_bytes > room_bytes:
        words = f"its file has {in_words(file.size_bytes)}, and all devices could give {in_words(room_bytes)}"
        return Candidate(model, fit=Fit.NOT, about_fit=words, context_tokens=trained_tokens)
    readiness = Readiness.COMING if one.state is ModelState.QUEUED else Readiness.ABSENT
    return Candidate(model, readiness, about_fit="there may be room for it", context_tokens=trained_tokens)


def _problem(model: Model) -> Problem | None:
    return model.source.problem if isinstance(model.source, ModelFile) else None


def _for_context(model: Model, wish: Wish, options: LoadOptions) -> LoadOptions:
    """The options of a load, with the context that is needed where the usual one is shorter."""
    trained_tokens = model.source.trained_context_tokens if isinstance(model.source, ModelFile) else 0
    usual_tokens = min(trained_tokens or UNKNOWN_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    given_tokens = options.over(model.options).context_tokens
    if (given_tokens or usual_tokens) >= wish.context_tokens:
        return options
    return replace(options, context_tokens=wish.context_tokens)


def _after(forecast: LoadForecast) -> str:
    if not forecast.victims:
        return forecast.message
    return f"there is room once {' and '.join(victim.model for victim in forecast.victims)} has gone"


def _accepted(found: Choice | Refusal) -> Choice:
    if isinstance(found, Refusal):
        raise RefusedError(found)
    return found
