"""Plans loads for the core: reads the file again, asks the pure rules, and quotes their settings."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..core.actions import FindPlans, FindTogether, Load
from ..core.events import PlansFound, PlansRefused, TogetherFound
from ..devices.device import Device
from ..domain.catalog import Model, ModelFile, Problem
from ..domain.device_view import DeviceView
from ..domain.errors import Refusal, in_words, refusal
from ..domain.quote import Plan
from ..loop import Loop
from ..quoting.drive import drive_async
from ..quoting.placement import LoadPlans, placements
from ..quoting.together import together
from ..wire_status import incident
from .last_words import blames_the_machine, telling
from .quotes import EngineFacts, QuotedFile, Quotes
from .verdicts import Way, way_of

log = logging.getLogger(__name__)

FACTS_S = 20.0
"""A worker that starts has said hello by then, or is ended."""

FINAL = frozenset({Reason.MODEL_FILE_INVALID, Reason.MODEL_UNSUPPORTED})
"""Reasons of a load that come again as long as the file and the engine are what they are."""

UNKNOWN_FACTS = EngineFacts("", ("cpu",), 64 << 20)
"""Assumed where no worker could be started to report."""


class Planning:
    """Quotes loads. Made by the composition root; the workers' side tells it of each start and hello."""

    def __init__(self, loop: Loop, devices: Sequence[Device], threads: int, quotes: Quotes) -> None:
        """`threads` are for a model whose settings do not say."""
        self._loop = loop
        self._devices = devices
        self._threads = threads
        self._quotes = quotes
        self._facts: EngineFacts | None = None
        self._coming: set[int] = set()
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._planned: dict[str, tuple[ModelFile, ModelFile]] = {}
        """By model, its file as it was listed when it was looked at last, and as it was found then."""

    def expect(self, worker_id: int) -> None:
        """A worker starts; plans wait for its report."""
        self._coming.add(worker_id)
        self._settled.clear()

    def learn(self, worker_id: int, facts: EngineFacts | None) -> None:
        """A worker has said hello, or None: it is gone. The most that an idle worker was seen to take is kept."""
        if facts and self._facts is None:
            text = "llama.cpp: %s; an idle worker takes %s"
            log.info(text, facts.llama_problem or "usable", in_words(facts.idle_bytes))
        if facts:
            most = max(facts.idle_bytes, self._facts.idle_bytes if self._facts else 0)
            self._facts = replace(facts, idle_bytes=most)
        self._coming.discard(worker_id)
        if not self._coming:
            self._settled.set()

    @property
    def facts(self) -> EngineFacts:
        """The engine, as far as workers have reported it."""
        return self._facts or UNKNOWN_FACTS

    def problem(self, model: Model) -> Problem | None:
        """Why a model cannot be loaded, whatever is asked for: of its file, or of what the engine has said of that."""
        if not isinstance(model.source, ModelFile):
            return None
        return model.source.problem or self._quotes.verdicts.of(self._latest(model.id, model.source), self.facts.build)

    def forget(self, model: Model) -> None:
        """A caller wants a model tried again, whatever was remembered of its file."""
        if isinstance(model.source, ModelFile):
            self._quotes.verdicts.forget(model.source.path)

    def refused(self, load: Load, why: Refusal) -> None:
        """The engine has refused a load: it is not tried like this again."""
        if isinstance(load.model.source, ModelFile) and why.reason in FINAL:
            problem = Problem(why.reason, why.message.removeprefix(f"{load.model.id}: "))
            self._quotes.verdicts.refused(self._way(load, load.model.source), problem)

    def died(self, load: Load, exit_: str, lines: Sequence[str]) -> Refusal | None:
        """A process has ended by its own fault over a load: why that is not tried again; None if it may be.

        If it said why, at once; else the second time in a row. Never where the machine was the trouble.
        """
        model = load.model
        if not isinstance(model.source, ModelFile) or blames_the_machine(lines):
            return None
        way = self._way(load, model.source)
        if why := telling(lines):
            problem = Problem(Reason.MODEL_UNSUPPORTED, f"llama.cpp gave itself up over it: {why}")
        elif self._quotes.verdicts.died(way):
            text = f"its process has ended twice while it loaded: {exit_}; `vramd logs {model.id}` says more"
            problem = Problem(Reason.MODEL_UNSUPPORTED, text)
        else:
            return None
        self._quotes.verdicts.refused(way, problem)
        return refusal(problem.reason, f"{model.id}: {problem.text}", model=model.id)

    def loaded(self, load: Load) -> None:
        if isinstance(load.model.source, ModelFile):
            self._quotes.verdicts.loaded(self._way(load, load.model.source))

    def _way(self, load: Load, listed: ModelFile) -> Way:
        return way_of(self._latest(load.model.id, listed), load.plan.settings, self.facts.build)

    def _latest(self, model: str, listed: ModelFile) -> ModelFile:
        """Returns the file as it was last planned for, unless it was listed again since."""
        was_listed, planned = self._planned.get(model, (listed, listed))
        return planned if was_listed == listed else listed

    def views(self) -> list[DeviceView]:
        """The devices, as a placement sees them."""
        accounts = self._loop.core.accounts()
        return [
            replace(device.view, unusable=self.unusable(device), total_bytes=accounts[device.id].total_bytes)
            for device in self._devices
        ]

    def unusable(self, device: Device) -> str:
        """Why no model is placed on a device; empty if models are, or if that is not known yet."""
        return device.backend.why_unusable(device, self._facts.backends if self._facts else None)

    def find_plans(self, action: FindPlans | FindTogether) -> None:
        """Called by the loop; PlansFound or PlansRefused follows, or TogetherFound."""
        work = self._find(action) if isinstance(action, FindPlans) else self._find_together(action)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, action: FindPlans) -> None:
        try:
            found = await self.ways(action.model, action.options, action.available_if_evicted)
        except Exception:  # whoever waits must hear something
            incident_id, found = incident(f"a fault while {action.model.id} was quoted")
            log.exception("incident %s", incident_id)
        now_s = self._loop.now_s()
        if isinstance(found, Refusal):
            self._loop.submit(PlansRefused(now_s, action.model.id, action.turn, found))
        else:
            self._loop.submit(PlansFound(now_s, action.model.id, action.turn, found.plans, found.alternatives))

    async def _find_together(self, action: FindTogether) -> None:
        plans: tuple[Plan, ...] = ()
        try:
            plans = await drive_async(
                together(action.models, action.available_if_evicted), lambda wanted: self.ways(*wanted)
            )
        except Exception:  # only a hint is lost
            log.exception("no settings could be found under which models fit together")
        models = tuple(model.id for model in action.models)
        self._loop.submit(TogetherFound(self._loop.now_s(), models, plans))

    async def ways(self, model: Model, options: LoadOptions, available: Mapping[str, int]) -> LoadPlans | Refusal:
        """The ways to load a model; `available` has the bytes of each device that it could have."""
        quoted = QuotedFile(ModelFile("", 0), "", None)
        if isinstance(model.source, ModelFile):
            quoted = await self._quotes.quoted(Path(model.source.path))
        facts = await self._await_facts()
        if isinstance(model.source, ModelFile):
            if facts.llama_problem:
                return refusal(Reason.ENGINE_MISSING, facts.llama_problem, model=model.id, engine="llama")
            quoted = await self._quotes.tried(quoted, facts)
            self._planned[model.id] = model.source, quoted.file
            model = replace(model, source=quoted.file)
        placing = placements(model, options, self.views(), self._threads, available)
        return await self._quotes.answer(placing, quoted, facts)

    async def _await_facts(self) -> EngineFacts:
        if self._facts is None and self._coming:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._settled.wait(), FACTS_S)
        return self.facts
