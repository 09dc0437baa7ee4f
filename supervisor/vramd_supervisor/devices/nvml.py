"""NVIDIA cards through NVML, which asks the driver and makes no CUDA context. Every call may fail and is guarded."""

import logging
from collections.abc import Sequence
from typing import Protocol

from ..core.device_view import DeviceLostError, Sample

_log = logging.getLogger(__name__)

Handle = object
"""A card, as NVML knows it."""

_NOT_SUPPORTED = 3
_TEMPERATURE_GPU = 0


class MemoryInfo(Protocol):
    """nvmlMemory_t."""

    total: int
    free: int


class ProcessInfo(Protocol):
    """nvmlProcessInfo_t."""

    pid: int
    usedGpuMemory: int | None
    """None under Windows' own memory manager, which does not tell."""


class Rates(Protocol):
    """nvmlUtilization_t."""

    gpu: int


class Nvml(Protocol):
    """What is used of the module pynvml."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle: ...  # noqa: D102
    def nvmlDeviceGetUUID(self, handle: Handle) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetName(self, handle: Handle) -> str | bytes: ...  # noqa: D102
    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> MemoryInfo: ...  # noqa: D102
    def nvmlDeviceGetMigMode(self, handle: Handle) -> Sequence[int]: ...  # noqa: D102
    def nvmlDeviceGetTemperature(self, handle: Handle, sensor: int) -> int: ...  # noqa: D102
    def nvmlDeviceGetUtilizationRates(self, handle: Handle) -> Rates: ...  # noqa: D102
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Handle) -> Sequence[ProcessInfo]: ...  # noqa: D102
    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Handle) -> Sequence[ProcessInfo]: ...  # noqa: D102


def load_nvml() -> Nvml | None:
    """The binding, connected to the driver; None where there is no driver, which is no fault."""
    try:
        import pynvml  # noqa: PLC0415  only a machine with a driver pays for it
    except ImportError:
        return None
    nvml: Nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.debug("no NVIDIA driver: %s", error)
        return None
    return nvml


class Card:
    """One card."""

    def __init__(self, nvml: Nvml, index: int) -> None:
        """Raises NVMLError if the driver does not even say who the card is."""
        self._nvml = nvml
        self.id = f"gpu{index}"
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid = _text(nvml.nvmlDeviceGetUUID(self._handle))
        self.name = _text(nvml.nvmlDeviceGetName(self._handle))

    def unusable(self) -> str:
        """Why no model can be placed here, whatever llama.cpp was built for; empty if one can."""
        try:
            mode = self._nvml.nvmlDeviceGetMigMode(self._handle)
        except self._nvml.NVMLError:
            mode = (0,)  # a card that cannot be split says that it does not know the question
        if mode[0]:
            return "it is split into instances (MIG), which vramd does not use"
        try:
            self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError as error:
            if _code(error) == _NOT_SUPPORTED:
                return "it has no memory of its own: models go to the host's"
            return f"it does not say how much memory it has: {error}"
        return ""

    def sample(self) -> Sample:
        """What the card is doing. Raises DeviceLostError when the driver gives no answer."""
        nvml, handle = self._nvml, self._handle
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            raise DeviceLostError(f"{self.id} ({self.name}) gives no answer: {error}") from error
        return Sample(memory.total, memory.total - memory.free, self._temperature_c(), self._utilisation_percent())

    def _temperature_c(self) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetTemperature(self._handle, _TEMPERATURE_GPU))
        except self._nvml.NVMLError:
            return None

    def _utilisation_percent(self) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        except self._nvml.NVMLError:
            return None

    def process_bytes(self, pid: int) -> int | None:
        """What one process has on the card; None if it has nothing or the driver does not tell.

        A process may be in both lists with the same bytes, so the larger counts. Inside a container the driver names
        processes by the host's numbers, and none of ours is found.
        """
        known: list[int] = []
        for listing in (
            self._nvml.nvmlDeviceGetComputeRunningProcesses,
            self._nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            try:
                running = listing(self._handle)
            except self._nvml.NVMLError:
                continue
            known += [entry.usedGpuMemory for entry in running if entry.pid == pid and entry.usedGpuMemory is not None]
        return max(known, default=None)


def find_cards(nvml: Nvml) -> list[Card]:
    """Every card that the driver shows, in its order (by PCI bus)."""
    cards = []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        _log.warning("the NVIDIA driver does not list its cards: %s", error)
        return []
    for index in range(count):
        try:
            cards.append(Card(nvml, index))
        except nvml.NVMLError as error:
            _log.warning("NVIDIA card %d gives no answer: %s", index, error)
    return cards


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _code(error: Exception) -> int | None:
    value = getattr(error, "value", None)
    return value if isinstance(value, int) else None
