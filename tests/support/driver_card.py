"""An NVIDIA card as its driver shows it to anybody: what is free, and who has how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Process(Protocol):
    pid: int
    usedGpuMemory: int | None


class Memory(Protocol):
    free: int


class Driver(Protocol):
    """What is used of the module pynvml."""

    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...
    def nvmlDeviceGetUUID(self, handle: object) -> str | bytes: ...
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Memory: ...
    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: object) -> Sequence[Process]: ...
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...


@dataclass(frozen=True)
class Card:
    """A card, as its driver shows it to anybody."""

    driver: Driver
    handle: object

    @property
    def free_bytes(self) -> int:
        return self.driver.nvmlDeviceGetMemoryInfo(self.handle).free

    def process_bytes(self, pid: int) -> int | None:
        """None where the driver does not tell: in a container it may name processes by other numbers."""
        running = self.driver.nvmlDeviceGetComputeRunningProcesses_v3(self.handle)
        return next((process.usedGpuMemory for process in running if process.pid == pid), None)


def in_words(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
