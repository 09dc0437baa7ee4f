"""Answers the core's question in which ways a model can be placed: looks at the file again and asks the pure rules."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vramd_proto.v1.reasons import Reason

from ..core.actions import FindPlans
from ..core.catalog import ModelFile
from ..core.device_view import DeviceKind, DeviceView
from ..core.errors import Refusal, refusal
from ..core.events import PlansFound, PlansRefused
from ..core.placement import Plan, placements
from ..devices.devices import Device
from ..files.discovery import read_model
from ..loop import Loop
from ..services.status import incident

log = logging.getLogger(__name__)

FACTS_S = 20.0
"""A worker that starts has said hello by then, or is ended."""

NO_CUDA = (
    "llama.cpp here was built without CUDA; install the build for it: "
    "pip install --force-reinstall --no-deps --only-binary :all: 'llama-cpp-python>=0.3.36,<0.4' "
    "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cu124"
)


@dataclass(frozen=True)
class EngineFacts:
    """What a worker's hello told of the engine, and what an idle worker takes."""

    llama_problem: str
    """Why llama.cpp cannot be used; empty if it can."""
    backends: Sequence[str]
    idle_bytes: int
    """Of host memory, measured."""


UNKNOWN_FACTS = EngineFacts("", ("cpu",), 64 << 20)
"""What is taken for true where no worker could be started to tell."""


class Planning:
    """Quotes loads. Made by the composition root; the workers' side tells it of each start and hello."""

    def __init__(self, loop: Loop, devices: Sequence[Device], cores: int) -> None:
        self._loop = loop
        self._devices = devices
        self._cores = cores
        self._facts: EngineFacts | None = None
        self._coming: set[int] = set()
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def expect(self, incarnation: int) -> None:
        """A worker starts; what it will say is worth waiting for."""
        self._coming.add(incarnation)
        self._settled.clear()

    def learn(self, incarnation: int, facts: EngineFacts | None) -> None:
        """A worker has said hello, or None: it is gone. The most that an idle worker was seen to take is kept."""
        if facts and self._facts is None:
            log.info("an idle worker takes %d bytes; llama.cpp: %s", facts.idle_bytes, facts.llama_problem or "usable")
        if facts:
            most = max(facts.idle_bytes, self._facts.idle_bytes if self._facts else 0)
            self._facts = replace(facts, idle_bytes=most)
        self._coming.discard(incarnation)
        if not self._coming:
            self._settled.set()

    def views(self) -> list[DeviceView]:
        """The devices, as a placement sees them."""
        return [replace(device.view, unusable=self.unusable(device)) for device in self._devices]

    def unusable(self, device: Device) -> str:
        """Why no model is placed on a device; empty if models are, or if that is not known yet."""
        if device.kind is DeviceKind.NVIDIA and self._facts and "cuda" not in self._facts.backends:
            return NO_CUDA
        return device.unusable

    def find_plans(self, action: FindPlans) -> None:
        """Called by the loop; PlansFound or PlansRefused follows."""
        task = asyncio.get_running_loop().create_task(self._find(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, action: FindPlans) -> None:
        try:
            found = await self._plans(action)
        except Exception:  # whoever waits must hear something
            incident_id, found = incident(f"a fault while {action.model.id} was quoted")
            log.exception("incident %s", incident_id)
        now_s = self._loop.now_s()
        if isinstance(found, Refusal):
            self._loop.submit(PlansRefused(now_s, action.model.id, action.turn, found))
        else:
            self._loop.submit(PlansFound(now_s, action.model.id, action.turn, found))

    async def _plans(self, action: FindPlans) -> tuple[Plan, ...] | Refusal:
        model = action.model
        if isinstance(model.source, ModelFile):
            fresh = await asyncio.to_thread(read_model, Path(model.source.path))
            model = replace(model, source=fresh)
        facts = await self._await_facts()
        if isinstance(model.source, ModelFile) and facts.llama_problem:
            return refusal(Reason.ENGINE_MISSING, facts.llama_problem, model=model.id, engine="llama")
        return placements(model, action.options, self.views(), self._cores, facts.idle_bytes)

    async def _await_facts(self) -> EngineFacts:
        if self._facts is None and self._coming:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._settled.wait(), FACTS_S)
        return self._facts or UNKNOWN_FACTS
