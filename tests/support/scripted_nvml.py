"""An NVML that plays a script: who takes what, when, and how badly the driver tells of it. Driven by a fake clock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

HOST_PIDS_FROM = 500_000
"""What a driver without namespaces adds to our numbers, here."""
GRAPHICS_TOO = 2
"""Every process whose number is a multiple of this is in both lists."""


class Clock:
    """Stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedNvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST = 3, 13, 15


class Tells(Enum):
    """What a driver says of a process."""

    BYTES = "bytes"
    NONE = "who, but not how much (Windows)"
    ERROR = "nothing (some kernels in virtual machines)"
    HOST_PIDS = "how much, under the host's numbers (containers)"
    NOT_AVAILABLE = "the number for not available, which a binding has not replaced"


@dataclass
class Memory:
    total: int
    free: int


@dataclass
class Process:
    pid: int
    usedGpuMemory: int | None


@dataclass
class Rates:
    gpu: int = 50


@dataclass
class Pci:
    busId: str | bytes = "00000000:01:00.0"


@dataclass
class ScriptedCard:
    """One card and its history. What is written now counts from now on."""

    now_s: Callable[[], float]
    total_bytes: int
    tells: Tells = Tells.BYTES
    lag_s: float = 0.0
    """So long what a process had stays taken, and listed, after its end."""
    stale_s: float = 0.0
    """Totals are those of so long ago; the lists are of now."""
    has_totals: bool = True
    lost: bool = False
    _order: "count[int]" = field(default_factory=count)
    _story: list[tuple[float, int, int, int]] = field(default_factory=list)
    """When, in which order, who, has how much from then on. Number 0 is all other programs."""

    def take(self, pid: int, size: int) -> None:
        """A process has so much now."""
        self._story.append((self.now_s(), next(self._order), pid, size))

    def end(self, pid: int) -> None:
        """A process is gone."""
        self._story.append((self.now_s() + self.lag_s, next(self._order), pid, 0))

    def others(self, size: int) -> None:
        self.take(0, size)

    def held(self, at_s: float | None = None) -> dict[int, int]:
        """What each really has, or had at a moment."""
        until_s = self.now_s() if at_s is None else at_s
        held: dict[int, int] = {}
        for since_s, _, pid, size in sorted(self._story):
            if since_s <= until_s:
                held[pid] = size
        return {pid: size for pid, size in held.items() if size}

    def memory(self) -> Memory:
        self._answer()
        if not self.has_totals:
            raise ScriptedNvmlError(NOT_SUPPORTED)
        return Memory(self.total_bytes, self.total_bytes - sum(self.held(self.now_s() - self.stale_s).values()))

    def listed(self) -> list[Process]:
        self._answer()
        ours = {pid: size for pid, size in self.held().items() if pid}
        match self.tells:
            case Tells.BYTES:
                return [Process(pid, size) for pid, size in ours.items()]
            case Tells.NONE:
                return [Process(pid, None) for pid in ours]
            case Tells.NOT_AVAILABLE:
                return [Process(pid, (1 << 64) - 1) for pid in ours]
            case Tells.HOST_PIDS:
                return [Process(HOST_PIDS_FROM + pid, size) for pid, size in ours.items()]
            case Tells.ERROR:
                raise ScriptedNvmlError(NOT_SUPPORTED)

    def _answer(self) -> None:
        if self.lost:
            raise ScriptedNvmlError(GPU_IS_LOST)


class Binding:
    """What is the same of each binding of a test."""

    NVMLError: type[Exception] = ScriptedNvmlError
    cards: Sequence[object]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "999.1"

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)


class ScriptedNvml(Binding):
    """The binding. `versions` are the forms of the lists that the driver has; the binding has them all."""

    def __init__(self, cards: Sequence[ScriptedCard], versions: frozenset[str] = frozenset({"_v2", "_v3"})) -> None:
        self.cards = self._cards = cards
        self.versions = versions

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        return index

    def nvmlDeviceGetUUID(self, handle: object) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: object) -> str:
        return "Scripted"

    def nvmlDeviceGetPciInfo(self, handle: object) -> Pci:
        return Pci()

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Memory:
        return self._card(handle).memory()

    def nvmlDeviceGetMigMode(self, handle: object) -> Sequence[int]:
        raise ScriptedNvmlError(NOT_SUPPORTED)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        return 60

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Rates:
        return Rates()

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: object) -> list[Process]:
        return self._list(handle, "_v3")

    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: object) -> list[Process]:
        return self._list(handle, "_v2")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[Process]:
        """As in the real binding: the newest, and if the driver lacks it, an error that is no NVMLError."""
        if "_v3" not in self.versions:
            raise LookupError("pyNVML version does not match the NVML lib version")
        return self._list(handle, "_v3")

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: object) -> list[Process]:
        return [entry for entry in self._list(handle, "_v3") if not entry.pid % GRAPHICS_TOO]

    def nvmlDeviceGetGraphicsRunningProcesses_v2(self, handle: object) -> list[Process]:
        return [entry for entry in self._list(handle, "_v2") if not entry.pid % GRAPHICS_TOO]

    def _list(self, handle: object, version: str) -> list[Process]:
        if version not in self.versions:
            raise ScriptedNvmlError(FUNCTION_NOT_FOUND)
        return self._card(handle).listed()

    def _card(self, handle: object) -> ScriptedCard:
        assert isinstance(handle, int)
        return self._cards[handle]
