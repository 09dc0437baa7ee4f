"""The simulated machine: its devices, how models fit on them, and how long things take. Pure.

Devices of the configuration are as large as it says; of those that are real elsewhere, the size is given, or follows
from the budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions, Settings

from ..core.ledger import Account
from ..domain.catalog import Model, ModelFile, Simulation
from ..domain.config import Config, DeviceConfig, Headroom
from ..domain.device_view import HOST, DeviceKind, DeviceView, limits
from ..domain.errors import Refusal
from ..domain.quote import Plan, Quote
from ..quoting.closed_form import quote
from ..quoting.drive import drive
from ..quoting.placement import LoadPlans, placements
from ..quoting.together import together
from .traffic import Machine, Speed, TrafficError

IDLE_WORKER_BYTES = 64 << 20
"""Host memory of a worker without a model, about as measured."""


@dataclass(frozen=True)
class Pace:
    load_s: float
    tokens_per_s: float
    prompt_tokens_per_s: float


@dataclass(frozen=True)
class VirtualMachine:
    views: tuple[DeviceView, ...]
    accounts: Mapping[str, Account]
    cores: int
    machine: Machine = field(default_factory=Machine)
    speeds: Mapping[str, Speed] = field(default_factory=dict)

    def ways(self, model: Model, options: LoadOptions, available: Mapping[str, int]) -> LoadPlans | Refusal:
        """Every quote by closed form: llama.cpp itself is not asked."""

        def answer(settings: Settings) -> Quote:
            assert isinstance(model.source, ModelFile)
            return quote(model.source, settings, IDLE_WORKER_BYTES)

        return drive(placements(model, options, self.views, self.cores, available), answer)

    def together(self, models: Sequence[Model], available: Mapping[str, int]) -> tuple[Plan, ...]:
        """Settings under which models would fit beside each other; none if they would not."""
        return drive(together(models, available), lambda wanted: self.ways(*wanted))

    def pace(self, model: Model) -> Pace:
        """As the traffic says, else as configured, else as the machine is."""
        own, machine = self.speeds.get(model.id, Speed()), self.machine
        match model.source:
            case Simulation(load_s=load_s, tokens_per_s=tokens_per_s):
                pass
            case ModelFile(size_bytes=size_bytes):
                load_s, tokens_per_s = size_bytes / machine.read_per_s, machine.tokens_per_s
        return Pace(
            load_s if own.load_s is None else own.load_s,
            own.tokens_per_s or tokens_per_s,
            own.prompt_tokens_per_s or machine.prompt_tokens_per_s,
        )


def share_of_pace(settings: Settings, threads: int) -> float:
    """Returns the share of its pace that a worker has with some CPU threads. On a card the CPU hardly counts."""
    return min(1.0, threads / settings.threads) if settings.device == HOST else 1.0


def build(config: Config, sizes: Mapping[str, int], machine: Machine, speeds: Mapping[str, Speed]) -> VirtualMachine:
    """The devices of the configuration, those with a given size, and the host. Raises TrafficError for one without."""
    ids = dict.fromkeys((*config.devices, *sizes))
    ids.pop(HOST, None)
    views, accounts = [], {}
    for id_ in (*ids, HOST):
        own = config.devices.get(id_, DeviceConfig())
        kind = _kind(id_, own)
        total_bytes = sizes.get(id_) or own.total or _total_bytes(own, own.headroom or config.server.headroom)
        if not total_bytes:
            raise TrafficError(f"how large is {id_}? --device {id_}=16GiB says it, or a budget in the configuration")
        may = limits(config, id_, kind, total_bytes)
        views.append(DeviceView(id_, kind, "", total_bytes))
        accounts[id_] = Account(total_bytes, may.budget_bytes, may.headroom_bytes)
    return VirtualMachine(tuple(views), accounts, machine.cores, machine, speeds)


def _kind(device: str, own: DeviceConfig) -> DeviceKind:
    if own.kind == "virtual":
        return DeviceKind.VIRTUAL
    return DeviceKind.HOST if device == HOST else DeviceKind.NVIDIA


def _total_bytes(own: DeviceConfig, headroom: Headroom | None) -> int:
    """The smallest device that gives the whole budget and leaves its headroom free; 0 without a budget."""
    if own.budget is None:
        return 0
    left = headroom or Headroom(256 << 20, 0.03)
    return max(own.budget + left.size_bytes, int(own.budget / (1 - left.share)) + 1)
