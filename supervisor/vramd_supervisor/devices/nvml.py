"""NVIDIA cards through NVML, which asks the driver and makes no CUDA context. Every call may fail and is guarded."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from ..domain.device_view import DeviceLostError, Sample
from .pids import PidNumbers
from .probe import Probe

_log = logging.getLogger(__name__)

Handle = object

_NOT_SUPPORTED = 3
_FUNCTION_NOT_FOUND = 13
_NOT_AVAILABLE_BYTES = (1 << 64) - 1
"""NVML_VALUE_NOT_AVAILABLE, which some bindings pass on."""
_TEMPERATURE_GPU = 0
_LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
_VERSIONS = ("_v3", "_v2", "")
"""Suffixes of a list's versions. A driver before 510 lacks `_v3`, and then the binding's plain function fails instead
of falling back. An old binding has only the plain function."""


class MemoryInfo(Protocol):
    """nvmlMemory_t."""

    total: int
    free: int


class ProcessInfo(Protocol):
    """nvmlProcessInfo_t."""

    pid: int
    usedGpuMemory: int | None
    """Bytes; None under Windows' memory manager, which does not report them."""


class Rates(Protocol):
    """nvmlUtilization_t."""

    gpu: int


class PciInfo(Protocol):
    """nvmlPciInfo_t."""

    busId: str | bytes


class Nvml(Protocol):
    """The part of the module pynvml that is used, without the process lists, which have several names."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle: ...
    def nvmlDeviceGetUUID(self, handle: Handle) -> str | bytes: ...
    def nvmlDeviceGetName(self, handle: Handle) -> str | bytes: ...
    def nvmlDeviceGetPciInfo(self, handle: Handle) -> PciInfo: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> MemoryInfo: ...
    def nvmlDeviceGetMigMode(self, handle: Handle) -> Sequence[int]: ...
    def nvmlDeviceGetTemperature(self, handle: Handle, sensor: int) -> int: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Handle) -> Rates: ...


def load_nvml() -> Nvml | None:
    """Returns the binding, connected to the driver; None if there is no driver, which is no fault."""
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


class Card(Probe):
    def __init__(
        self, nvml: Nvml, index: int, pids: PidNumbers | None = None, *, tells_all: bool | None = None
    ) -> None:
        """Opens the card. Raises NVMLError if the driver does not even identify it.

        `tells_all` is whether a process that the driver does not list takes nothing; None decides by the system.
        """
        self._nvml = nvml
        self.id = f"gpu{index}"
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid = _text(nvml.nvmlDeviceGetUUID(self._handle))
        self.name = _text(nvml.nvmlDeviceGetName(self._handle))
        self._pids = pids or PidNumbers()
        self._tells_all = _lists_all() if tells_all is None else tells_all

    @property
    def pci_id(self) -> str:
        """PCI address as llama.cpp and the system write it (0000:01:00.0); empty if the driver does not report it."""
        try:
            return short_pci_id(_text(self._nvml.nvmlDeviceGetPciInfo(self._handle).busId))
        except self._nvml.NVMLError:
            return ""

    @property
    def unified(self) -> bool:
        """Whether the card uses the host's memory (GB10, Jetson)."""
        fault = self._memory_fault()
        return fault is not None and _code(fault) == _NOT_SUPPORTED

    def unusable(self) -> str:
        """Says why no model can be placed here, whichever backends llama.cpp has; empty if one can."""
        try:
            mode = self._nvml.nvmlDeviceGetMigMode(self._handle)
        except self._nvml.NVMLError:
            mode = (0,)  # a card that cannot be split does not support the query
        if mode[0]:
            return "it is split into instances (MIG), which vramd does not use"
        fault = self._memory_fault()
        if fault is not None and _code(fault) != _NOT_SUPPORTED:
            return f"it does not say how much memory it has: {fault}"
        return ""

    def _memory_fault(self) -> Exception | None:
        """Returns why there are no totals; None if there are."""
        try:
            self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError as error:
            return error
        return None

    def sample(self) -> Sample:
        """Measures the card. Raises DeviceLostError if the driver does not answer."""
        nvml, handle = self._nvml, self._handle
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            raise DeviceLostError(f"{self.id} ({self.name}) gives no answer: {error}") from error
        return Sample(memory.total, memory.total - memory.free, self.temperature_c(), self.utilisation_percent())

    def temperature_c(self) -> int | None:
        """Returns the temperature; None where the driver does not report it."""
        try:
            return int(self._nvml.nvmlDeviceGetTemperature(self._handle, _TEMPERATURE_GPU))
        except self._nvml.NVMLError:
            return None

    def utilisation_percent(self) -> int | None:
        """Returns the utilisation; None where the driver does not report it."""
        try:
            return int(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        except self._nvml.NVMLError:
            return None

    def process_bytes(self, pid: int) -> int | None:
        """Returns the bytes of one process on the card; None if the driver does not report them.

        A process may be in both lists with the same bytes, so the larger figure counts. A process in neither list has
        nothing, if the driver lists all. In a container, a driver may list processes by the host's numbers; if those
        cannot be translated, nothing is known.
        """
        lists = [self._running(name) for name in _LISTS]
        running = [entry for listed in lists if listed is not None for entry in listed]
        number = self._pids.number(pid, {entry.pid for entry in running})
        own = [entry.usedGpuMemory for entry in running if entry.pid == number]
        told = [size for size in own if size is not None and size != _NOT_AVAILABLE_BYTES]
        if own or number is None or None in lists or not self._tells_all:
            return max(told, default=None)
        return 0

    def _running(self, name: str) -> Sequence[ProcessInfo] | None:
        """Returns a list in the newest version that both binding and driver have; None if the driver gives none."""
        for listing in self._versions(name):
            try:
                return listing(self._handle)
            except self._nvml.NVMLError as error:
                if _code(error) != _FUNCTION_NOT_FOUND:
                    return None
        return None

    def _versions(self, name: str) -> Iterator[Callable[[Handle], Sequence[ProcessInfo]]]:
        """Yields the versions of a list; the plain one only if it is alone, as a new binding maps it to the newest."""
        known = [getattr(self._nvml, name + version, None) for version in _VERSIONS]
        found = [listing for listing in known if listing is not None]
        for listing in found[:-1] or found:
            yield cast(Callable[[Handle], Sequence[ProcessInfo]], listing)


def driver_version(nvml: Nvml) -> str:
    """Returns the version of the NVIDIA driver; empty if it does not report it."""
    try:
        return _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return ""


def find_cards(nvml: Nvml) -> list[Card]:
    """Returns every card that the driver shows, in its order (by PCI bus)."""
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


def short_pci_id(text: str) -> str:
    """Converts a PCI address to the system's form; NVML writes an eight-digit domain and capitals."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest.count(":") == 1 else text.strip().lower()


def _lists_all() -> bool:
    """Returns whether the driver lists all processes: not under Windows or WSL, where Windows manages the memory."""
    try:
        release = Path("/proc/sys/kernel/osrelease").read_text("ascii", "replace")
    except OSError:
        return False
    return "microsoft" not in release.lower()


def _text(value: str | bytes) -> str:
    """Decodes a text, which older bindings give as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _code(error: Exception) -> int | None:
    value = getattr(error, "value", None)
    return value if isinstance(value, int) else None
