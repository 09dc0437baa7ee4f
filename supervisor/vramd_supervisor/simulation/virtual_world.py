"""The shell of a simulation: the same core, on a virtual clock, with virtual devices, workers and callers.

    world = VirtualWorld(traffic, machine, models, config, core.handle)
    world.run()

What `loop` is in a supervisor. Reads no clock and draws from its own seed: the same input gives the same events.
"""

from collections.abc import Callable, Mapping

from ..core.actions import (
    Action,
    FindPlans,
    FindTogether,
    Grant,
    Interrupted,
    Load,
    Refuse,
    SetThreads,
    Spawn,
    Stop,
)
from ..core.events import (
    CatalogueRead,
    DeviceSampled,
    Event,
    PlansFound,
    PlansRefused,
    Started,
    TogetherFound,
)
from ..core.pump import Pump
from ..domain.catalog import Model
from ..domain.config import Config
from ..domain.errors import Refusal
from .clients import Clients
from .clock import VirtualClock
from .machine import VirtualMachine
from .traffic import Traffic
from .virtual_workers import VirtualWorkers

_SAMPLE_S = 1.0
"""A device that other programs use is looked at as often as a supervisor does."""

Handle = Callable[[Event], list[Action]]


class VirtualWorld:
    """One simulation, from the start of the supervisor until the last answer."""

    def __init__(
        self,
        traffic: Traffic,
        machine: VirtualMachine,
        models: Mapping[str, Model],
        config: Config,
        handle: Handle,
    ) -> None:
        """`handle` is the core's, or a wrapper of it."""
        self.clock = VirtualClock()
        self._traffic = traffic
        self._machine = machine
        self._models = models
        self.submit = Pump(handle, self._do, self.clock.at).submit
        self._workers = VirtualWorkers(self.clock, machine, config, self.submit)
        self._clients = Clients(traffic, self.clock, self._workers, config.server.request_deadline_s, self.submit)

    def run(self) -> None:
        """Runs until the traffic is over and every request has ended."""
        self.submit(CatalogueRead(0.0, self._models))
        self.submit(Started(0.0))
        self._clients.begin()
        for device in dict.fromkeys(program.device for program in self._traffic.program):
            self._sample(device)
        while (self.clock.now_s < self._traffic.duration_s or self._clients.waiting) and self.clock.step():
            pass

    def _do(self, action: Action) -> None:
        match action:
            case Spawn() | Load() | Stop() | SetThreads():
                self._workers.perform(action)
            case FindPlans():
                self._find_plans(action)
            case FindTogether(models=models, available_if_evicted=available):
                plans = self._machine.together(models, available)
                self.submit(TogetherFound(self.clock.now_s, tuple(model.id for model in models), plans))
            case Grant(request=request, worker_id=worker_id, threads=threads):
                self._clients.granted(request, worker_id, threads)
            case Interrupted(request=request):
                self._workers.break_off(request)
            case Refuse(request=request):
                self._clients.refused(request)
            case _:
                pass  # of interest to watchers, or to callers that a simulation does not have

    def _find_plans(self, action: FindPlans) -> None:
        found = self._machine.ways(action.model, action.options, action.available_if_evicted)
        now_s, model = self.clock.now_s, action.model.id
        if isinstance(found, Refusal):
            self.submit(PlansRefused(now_s, model, action.turn, found))
        else:
            self.submit(PlansFound(now_s, model, action.turn, found.plans, found.alternatives))

    def _sample(self, device: str) -> None:
        """Submits a sample, as a sampler does once a second."""
        now_s, account = self.clock.now_s, self._machine.accounts[device]
        others_bytes = sum(
            program.size
            for program in self._traffic.program
            if program.device == device
            and program.start_s <= now_s < (self._traffic.duration_s if program.end_s is None else program.end_s)
        )
        used_bytes = others_bytes + self._workers.held_bytes(device)
        self.submit(DeviceSampled(now_s, device, account.total_bytes, others_bytes, used_bytes))
        self.clock.after(_SAMPLE_S, lambda: self._sample(device))
