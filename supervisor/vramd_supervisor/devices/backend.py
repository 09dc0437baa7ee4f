"""Devices that only llama.cpp reports: Metal, Vulkan, SYCL and later backends."""

import importlib.util
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..domain.device_view import HOST, DeviceKind, DeviceLostError, Sample
from .device import SHARED, Backend, Device
from .nvml import short_pci_id
from .probe import BoundedProbe, Probe

_LIBRARY = re.compile(r"(?:lib)?ggml-([a-z]+)[.-]")
_KNOWN_LIBRARIES = frozenset({"base", "cpu", "cuda", "blas", "rpc"})
_GPU_TYPES = frozenset({"gpu", "igpu"})
"""ggml's device types that can hold a model; the others are cpu and accel."""


@dataclass(frozen=True)
class BackendDevice:
    """A device as a backend of llama.cpp describes it."""

    name: str
    """Name in llama.cpp: MTL0, Vulkan0, SYCL0."""
    description: str
    type: str
    """Type in ggml: cpu, gpu, igpu or accel."""
    total_bytes: int
    free_bytes: int
    pci_id: str = ""
    """PCI address, where the backend reports it."""


NO_BACKEND = "vramd uses such a card through Vulkan or SYCL, not ROCm, and llama.cpp here names none for it"


class LlamaCard(Backend):
    """A card that llama.cpp uses, and names, through another backend than CUDA."""

    kind = DeviceKind.BACKEND

    def why_unusable(self, device: Device, libraries: Sequence[str] | None) -> str:  # noqa: ARG002  it is the name
        return device.unusable if device.uuid else device.unusable or NO_BACKEND


LLAMA_CARD = LlamaCard()

Answer = Callable[[], Sequence[BackendDevice]]
"""Asks llama.cpp in another process. May raise any exception; may be called from any thread."""


class BackendProbe(Probe):
    """Measures a device by its backend's figures, and its processes by another probe, if there is one."""

    def __init__(self, name: str, answer: Answer, processes: Probe | None = None) -> None:
        self._name = name
        self._answer = answer
        self._processes = processes

    def sample(self) -> Sample:
        """Returns the backend's figures. Raises DeviceLostError if they are missing or impossible."""
        try:
            named = self._answer()
        except Exception as error:  # the helper's process or its pipe failed: in any case there is no answer
            raise DeviceLostError(f"llama.cpp does not tell of {self._name}: {error}") from error
        told = next((device for device in named if device.name == self._name), None)
        if told is None:
            raise DeviceLostError(f"llama.cpp does not name {self._name} any more")
        if not 0 <= told.free_bytes <= told.total_bytes:
            raise DeviceLostError(f"{self._name} has {told.free_bytes} of {told.total_bytes} bytes free, it says")
        return Sample(told.total_bytes, told.total_bytes - told.free_bytes)

    def process_bytes(self, pid: int) -> int | None:
        """Returns the other probe's figure; no backend reports it."""
        return self._processes.process_bytes(pid) if self._processes else None


def has_further_backends(environment: Mapping[str, str]) -> bool:
    """Returns whether the installed llama.cpp may know devices that no driver reports here.

    It looks at the names of the libraries, as asking llama.cpp means starting a process.
    """
    if environment.get("GGML_BACKEND_PATH"):
        return True
    spec = importlib.util.find_spec("llama_cpp")
    folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
    names = [match[1] for file in (folder.glob("*ggml-*") if folder else ()) if (match := _LIBRARY.match(file.name))]
    return not _KNOWN_LIBRARIES.issuperset(names)


def with_backends(answer: Answer, known: Sequence[Device]) -> list[Device]:
    """Returns all devices: known ones, completed by llama.cpp, and those that only llama.cpp reports."""
    found = {device.id: device for device in backend_devices(answer, known)}
    merged = [found.pop(device.id, device) for device in known]
    return [*found.values(), *merged]


def backend_devices(answer: Answer, known: Sequence[Device]) -> list[Device]:
    """Returns the devices that llama.cpp can use through other backends than CUDA, with its names for them.

    It is called once a worker or helper can answer. A device whose PCI address is in `known` replaces that entry and
    keeps its id; the backend's totals apply if the driver reports none. The id of any other device is its name in lower
    case (mtl0, vulkan0).
    """
    at = {device.pci_id: device for device in known if device.pci_id}
    found: dict[str, Device] = {}
    for told in answer():
        pci_id = short_pci_id(told.pci_id)
        card = at.get(pci_id)
        if told.type in _GPU_TYPES and (card is None or card.backend is LLAMA_CARD):
            found.setdefault(pci_id or told.name, _device(told, answer, card))
    return list(found.values())


def _device(told: BackendDevice, answer: Answer, card: Device | None) -> Device:
    if card and not card.unusable:
        return replace(card, uuid=told.name)
    shared = shares_host_memory(told)
    probe = BoundedProbe(told.name, BackendProbe(told.name, answer, card.probe if card else None))
    return Device(
        id=card.id if card else told.name.lower(),
        backend=LLAMA_CARD,
        name=told.description,
        probe=probe,
        uuid=told.name,
        unusable=SHARED if shared else "",
        pci_id=short_pci_id(told.pci_id),
        shares=HOST if shared else "",
    )


def shares_host_memory(device: BackendDevice) -> bool:
    """Returns whether a device uses the host's memory, as integrated GPUs and those of Macs with Apple processors do.

    Metal reports the GPU of such a Mac as gpu, not igpu.
    """
    by_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return device.type == "igpu" or (by_apple and device.name.startswith("MTL"))
