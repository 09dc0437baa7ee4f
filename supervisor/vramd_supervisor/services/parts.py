"""The parts that the composition root builds, as each service gets them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from vramd_proto.v1 import model_pb2

from ..core.view import Resident
from ..devices.cpu_sampler import CpuSampler
from ..devices.device import Device
from ..devices.sampler import Sampler
from ..domain.config import Config
from ..domain.device_view import Sample
from ..loop import Loop
from ..model_folders import Folders
from ..model_selector import ModelSelector
from ..reloading import Reloading
from ..watchdog import RELEASE_S
from ..workers.log_book import LogBook
from ..workers.planning import Planning
from ..workers.quoter import Quoter
from ..workers.workers import Workers
from . import messages
from .decision_writer import DecisionWriter
from .event_log import EventLog


@dataclass(frozen=True)
class Parts:
    loop: Loop
    devices: list[Device]
    samples: dict[str, Sample]
    """By device; kept current by the sampler."""
    sampler: Sampler
    cpu_sampler: CpuSampler
    planning: Planning
    quoter: Quoter
    workers: Workers
    events: EventLog
    decisions: DecisionWriter
    logs: LogBook
    folders: Folders
    selector: ModelSelector
    reloading: Reloading

    @property
    def request_deadline_s(self) -> float:
        """A request, a hold or a reservation waits no longer."""
        return self.loop.core.config.server.request_deadline_s

    @property
    def load_deadline_s(self) -> float:
        """A load waits for room as long as a request may, and then takes its time."""
        return load_deadline_s(self.loop.core.config)

    @property
    def unload_deadline_s(self) -> float:
        """An unload takes no longer, and neither does the end of everything."""
        return self.loop.core.config.scheduling.drain_s + RELEASE_S

    async def resident(self, model: str) -> model_pb2.ResidentModel | None:
        """A model with what its process really takes; None if it has no process and waits for none."""
        seen = self.loop.core.resident(model, self.loop.now_s())
        return (await self._measured([seen]))[0] if seen else None

    async def residents(self) -> list[model_pb2.ResidentModel]:
        """All of them, by id."""
        return await self._measured(self.loop.core.residents(self.loop.now_s()))

    async def _measured(self, seen: Iterable[Resident]) -> list[model_pb2.ResidentModel]:
        found = list(seen)
        measured = await asyncio.gather(*(self.workers.measured(one.worker_id) for one in found))
        return [messages.resident(one, taken) for one, taken in zip(found, measured, strict=True)]


def load_deadline_s(config: Config) -> float:
    """Seconds that a load may wait and take."""
    return config.server.request_deadline_s + config.server.load_deadline_s
