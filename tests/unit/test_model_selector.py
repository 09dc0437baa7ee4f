"""How a task becomes a model: what is computed for it, how long that may take, and what is loaded meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest
from support.core_world import MODELS, NEEDS, CoreWorld, plan
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor import model_selector
from vramd_supervisor.core.events import CatalogueRead, Requested
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem
from vramd_supervisor.domain.config import Priority
from vramd_supervisor.domain.errors import Refusal, RefusedError, refusal
from vramd_supervisor.loop import Loop
from vramd_supervisor.model_selector import MOST_PLANNED, ModelSelector
from vramd_supervisor.quoting.placement import LoadPlans
from vramd_supervisor.selection.tasks import Wish
from vramd_supervisor.workers.planning import Planning

BOUND_S = 10.0
CODE = Wish("code")
REFUSED = refusal(Reason.DEVICE_UNUSABLE, "there is no such device", model="x", device="x")

Value = TypeVar("Value")


class Desk:
    """A core with models, and in the place of the shell what was asked of it."""

    def __init__(self, *models: Model, never: tuple[str, ...] = ()) -> None:
        self.world = CoreWorld(spare=False)
        self.world.tell(CatalogueRead(0.0, {model.id: model for model in models}))
        self.core = self.world.core
        self.planned: list[tuple[str, LoadOptions]] = []
        self.loaded: list[tuple[str, RequestKind, Priority | None]] = []
        self.load_begun = asyncio.Event()
        self.load_may_end = asyncio.Event()
        self.answers: dict[str, LoadPlans | Refusal | Exception] = {}
        self.never = never
        self.problems: dict[str, Problem] = {}
        """What the engine has said of models, once they were planned."""
        self.looked_again = 0
        self.found: dict[str, Model] = {}
        """What a second look finds."""
        self.selector = ModelSelector(cast("Loop", self), cast("Planning", self), self.look_again, lambda: 60.0)

    async def look_again(self) -> None:
        self.looked_again += 1
        if self.found:
            self.world.tell(CatalogueRead(0.0, self.found))

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def load(self, model: str) -> int:
        """Has a model loaded, with one request on it."""
        request = self.world.request(model)
        while self.world.errands:
            self.world.run_errand()
        return request

    async def ways(self, model: Model, options: LoadOptions, available: Mapping[str, int]) -> LoadPlans | Refusal:
        self.planned.append((model.id, options))
        if model.id in self.never:
            await asyncio.Event().wait()
        if no := self.problems.get(model.id):
            return refusal(no.reason, no.text, model=model.id)
        answer = self.answers.get(model.id, LoadPlans((plan(NEEDS[model.id]),)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def problem(self, model: Model) -> Problem | None:
        if isinstance(model.source, ModelFile) and model.source.problem:
            return model.source.problem
        known = any(model.id == planned for planned, _ in self.planned)
        return self.problems.get(model.id) if known else None

    @asynccontextmanager
    async def request(self, make: Callable[[float, int], Requested]) -> AsyncIterator[SimpleNamespace]:
        event = make(self.now_s(), 1)
        self.loaded.append((event.model, event.kind, event.priority))
        self.load_begun.set()
        yield SimpleNamespace(outcome=self.load_may_end.wait())

    async def resolve(self, model: str, light_now: bool = False) -> str:
        return await self.selector.resolve(model, None, light_now=light_now)


def run(work: Coroutine[object, object, Value]) -> Value:
    return asyncio.run(work)


def coder(name: str) -> Model:
    return replace(MODELS[name], tasks=("code",))


def test_a_model_stays_as_it_is() -> None:
    async def main() -> list[str]:
        desk = Desk(MODELS["small"], replace(MODELS["small"], id="task:mine"))
        named = [await desk.resolve(model, light_now=True) for model in ("small", "nobody", "task:mine")]
        assert desk.planned == []
        return named

    assert run(main()) == ["small", "nobody", "task:mine"]


@pytest.mark.parametrize("name", ["Small", "small.gguf", "SMALL.GGUF"])
def test_a_model_is_found_by_another_spelling(name: str) -> None:
    assert run(Desk(MODELS["small"]).resolve(name, light_now=True)) == "small"


BROKEN = Model("broken", ModelFile("/b.gguf", 1, problem=Problem(Reason.MODEL_FILE_INVALID, "cut off")))


async def test_a_problem_is_looked_at_anew_when_the_model_is_asked_for() -> None:
    desk = Desk(BROKEN, MODELS["small"])
    assert await desk.resolve("small", light_now=True) == "small"
    assert await desk.resolve("broken", light_now=True) == "broken"
    desk.found = {"later": replace(MODELS["large"], id="later"), "small": MODELS["small"]}
    assert await desk.resolve("later.gguf", light_now=True) == "later"
    assert desk.looked_again == 2


def test_a_choice_looks_at_problems_anew() -> None:
    async def main() -> str:
        desk = Desk(BROKEN)
        desk.found = {"broken": replace(coder("small"), id="broken")}
        return (await desk.selector.select(CODE, LoadOptions())).model

    assert run(main()) == "broken"


async def test_only_the_best_candidates_are_computed() -> None:
    desk = Desk(coder("small"), coder("middle"), MODELS["large"])
    assert await desk.resolve("task:code") == "middle"
    assert desk.planned == [("middle", LoadOptions())]
    desk.answers["middle"] = REFUSED
    choice = await desk.selector.select(CODE, LoadOptions())
    assert (choice.model, [model for model, _ in desk.planned]) == ("small", ["middle", "middle", "small"])
    refused = next(other for other in choice.considered if other.model == "middle")
    assert refused.why_not == "it does not fit: there is no such device"


async def test_a_loaded_one_is_not_computed() -> None:
    desk = Desk(coder("small"), coder("middle"))
    desk.load("small")
    choice = await desk.selector.select(CODE, LoadOptions())
    assert (choice.model, choice.loaded, desk.planned) == ("small", True, [])
    assert "loaded, with a free place" in choice.reasons
    desk.load("small")
    assert "loaded, but all its places are taken" in (await desk.selector.select(CODE, LoadOptions())).reasons


async def test_who_would_have_to_go_is_told() -> None:
    desk = Desk(coder("middle"), MODELS["large"], MODELS["giant"])
    desk.world.caller(desk.load("large"), "end")
    choice = await desk.selector.select(CODE, LoadOptions())
    assert (choice.model, choice.fits) == ("middle", True)
    assert "there is room once large has gone" in choice.reasons
    giant = await Desk(coder("giant")).selector.select(CODE, LoadOptions())
    assert (giant.model, giant.fits) == ("giant", False)


async def test_a_load_that_has_begun_counts() -> None:
    desk = Desk(coder("middle"), coder("small"))
    desk.world.request("small")
    assert "being loaded" in (await desk.selector.select(CODE, LoadOptions())).reasons
    assert [model for model, _ in desk.planned] == ["small"]
    while not desk.core.state.workers:
        desk.world.run_errand()
    choice = await desk.selector.select(CODE, LoadOptions())
    assert (choice.model, choice.loaded, len(desk.planned)) == ("small", False, 1)
    assert "its load has begun" in choice.reasons


async def test_a_plan_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_selector, "PLAN_S", 0.01)
    desk = Desk(coder("small"), MODELS["middle"], never=("small",))
    choice = await desk.selector.select(CODE, LoadOptions())
    assert (choice.model, choice.fits) == ("small", True)
    assert "there may be room for it" in choice.reasons
    assert [model for model, _ in desk.planned] == ["small"]


async def test_so_many_plans_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_selector, "MOST_PLANNED", 1)
    desk = Desk(coder("small"), coder("middle"))
    desk.answers["middle"] = REFUSED
    assert (await desk.selector.select(CODE, LoadOptions())).model == "small"
    assert [model for model, _ in desk.planned] == ["middle"]


def test_a_fault_while_a_plan_is_made_costs_its_candidate_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> str:
        desk = Desk(coder("small"), coder("middle"))
        desk.answers["middle"] = RuntimeError("a fault")
        return (await desk.selector.select(CODE, LoadOptions())).model

    assert run(main()) == "small"
    assert "a fault" in caplog.text


async def test_the_light_one_answers_and_the_best_one_is_loaded_once() -> None:
    desk = Desk(coder("middle"), MODELS["small"])
    desk.load("small")
    assert [await desk.resolve("task:code", light_now=True) for _ in range(3)] == ["small"] * 3
    assert (desk.planned, desk.loaded) == ([], []), "nobody waits for the best one"
    await asyncio.wait_for(desk.load_begun.wait(), BOUND_S)
    assert await desk.resolve("task:code_generation", light_now=True) == "small"
    desk.load_may_end.set()
    await asyncio.sleep(0)
    assert desk.loaded == [("middle", RequestKind.LOAD, Priority.NORMAL)]


async def test_without_the_wish_the_best_one_is_waited_for() -> None:
    desk = Desk(coder("middle"), MODELS["small"])
    desk.load("small")
    assert await desk.resolve("task:code") == "middle"
    assert desk.loaded == []


async def test_a_better_one_that_does_not_fit_is_not_loaded() -> None:
    desk = Desk(coder("large"), MODELS["small"])
    desk.answers["large"] = REFUSED
    desk.load("small")
    assert await desk.resolve("task:code", light_now=True) == "small"
    (load,) = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(load, BOUND_S)
    assert (desk.loaded, [model for model, _ in desk.planned]) == ([], ["large"])


async def test_one_that_is_too_large_for_its_device_is_not_planned_for() -> None:
    desk = Desk(coder("giant"), MODELS["small"])
    choice = await desk.selector.select(CODE, LoadOptions())
    assert choice.model == "small"
    (giant,) = choice.considered
    assert giant.why_not == "it does not fit: it needs 0.0 MiB on card, which may give 0.0 MiB in all"
    assert [model for model, _ in desk.planned] == ["small"]


async def test_a_call_for_embeddings_goes_to_a_model_that_gives_them() -> None:
    talks = Model("talks", ModelFile("/talks.gguf", 1), tasks=("code",))
    desk = Desk(talks, MODELS["small"])
    assert await desk.selector.resolve("task:code", None, vectors=True) == "small", "a simulated one does"
    with pytest.raises(RefusedError, match="it gives text, and no embeddings"):
        await Desk(talks).selector.resolve("task:code", None, vectors=True)


async def test_settings_of_the_call_count() -> None:
    desk = Desk(coder("small"), coder("middle"))
    desk.load("small")
    asked = LoadOptions(context_tokens=1024)
    assert await desk.selector.resolve("task:code", asked, light_now=True) == "middle"
    assert desk.planned == [("middle", asked)]
    assert await desk.selector.resolve("task:code", LoadOptions(context_tokens=2048)) == "small"


async def test_a_context_that_is_needed_is_planned_with() -> None:
    desk = Desk(coder("small"))
    await desk.selector.select(replace(CODE, context_tokens=4096), LoadOptions())
    await desk.selector.select(replace(CODE, context_tokens=4097), LoadOptions())
    assert [options.context_tokens for _, options in desk.planned] == [None, 4097]


async def test_a_model_in_quarantine_is_not_chosen() -> None:
    desk = Desk(coder("middle"), coder("small"))
    for _ in range(3):
        desk.world.caller(desk.load("middle"), "end")
        current = desk.core.state.models["middle"].current
        assert current
        desk.world.crash(current.id)
        desk.world.wait(1.0)
    choice = await desk.selector.select(CODE, LoadOptions())
    assert choice.model == "small"
    assert [other.why_not for other in choice.considered if other.model == "middle"] == ["its processes died too often"]


async def test_files_that_cannot_serve() -> None:
    damaged = ModelFile("/m/coder.gguf", 1, problem=Problem(Reason.MODEL_FILE_INVALID, "it is damaged"))
    huge = ModelFile("/m/large-coder.gguf", 1 << 40, parameters=10**12, has_chat_template=True)
    desk = Desk(Model("damaged", damaged), Model("huge", huge), MODELS["small"])
    choice = await desk.selector.select(CODE, LoadOptions())
    assert choice.model == "small"
    why = {other.model: other.why_not for other in choice.considered}
    assert why["damaged"] == "it is damaged"
    assert why["huge"].startswith("it does not fit: its file has 1024.00 GiB")
    assert [model for model, _ in desk.planned] == ["small"]


@pytest.mark.parametrize("light_now", [True, False])
def test_where_no_model_serves_that_is_refused(light_now: bool) -> None:
    async def main() -> None:
        await Desk().resolve("task:code", light_now)

    with pytest.raises(RefusedError) as caught:
        run(main())
    assert caught.value.refusal.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize("name", ["task:", "task: ", "task:" + "x" * 65, "task:code\n"])
def test_what_names_no_task(name: str) -> None:
    async def main() -> None:
        await Desk(MODELS["small"]).resolve(name)

    with pytest.raises(RefusedError) as caught:
        run(main())
    assert (caught.value.refusal.reason, caught.value.refusal.metadata) == (Reason.FIELD_INVALID, {"field": "model"})


async def test_what_the_engine_refuses_is_never_chosen_however_many_they_are() -> None:
    """More than may be planned for one choice: a model that is refused is none of those."""
    refused = [replace(coder("small"), id=f"a{number}") for number in range(MOST_PLANNED + 3)]
    desk = Desk(*refused, replace(MODELS["large"], tasks=("text",)), coder("middle"))
    for model in refused:
        desk.problems[model.id] = Problem(Reason.MODEL_UNSUPPORTED, f"llama.cpp does not know {model.id}")
    for again in range(2):
        choice = await desk.selector.select(CODE, LoadOptions())
        assert choice.model == "middle"
        assert len(desk.planned) == len(refused) + 1 + again, "it is not asked about twice what is known"
        told = {other.model: other.why_not for other in choice.considered}
        assert all(told[model.id] == f"llama.cpp does not know {model.id}" for model in refused)


async def test_if_the_engine_refuses_all_of_them_that_is_the_answer() -> None:
    desk = Desk(coder("small"), coder("middle"))
    for name in ("small", "middle"):
        desk.problems[name] = Problem(Reason.MODEL_UNSUPPORTED, "the file has no tokenizer")
    with pytest.raises(RefusedError) as caught:
        await desk.selector.select(CODE, LoadOptions())
    assert caught.value.refusal.reason is Reason.MODEL_NOT_FOUND
    assert "the file has no tokenizer" in caught.value.refusal.message
