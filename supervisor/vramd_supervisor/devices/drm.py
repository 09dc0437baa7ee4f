"""AMD and Intel cards on Linux: totals from sysfs, bytes of a process from /proc/<pid>/fdinfo.

The format is the kernel's Documentation/gpu/drm-usage-stats.rst. Nothing is asked of a card itself, so nothing here
wakes one or fails for lack of rights: a process may read what its own children have open.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.device_view import HOST, DeviceLostError, Sample
from .backend import LLAMA_CARD
from .device import SHARED, Device, UnifiedProbe
from .probe import BoundedProbe, Probe

_MAKERS = {"0x1002": "amd", "0x8086": "intel"}
_DRIVERS = frozenset({"amdgpu", "i915", "xe"})
_TOTALS = (
    ("mem_info_vram_total", "mem_info_vram_used", True),
    ("lmem_total_bytes", "lmem_avail_bytes", False),
)
"""Files with a total and with what is taken of it, or left of it: amdgpu, and i915 as Intel ships it for its servers.
The xe and i915 of the kernel itself tell no totals."""
_OWN_MEMORY = re.compile(r"(?:vram|local)\d*", re.ASCII)
"""Regions that are on the card: vram (amdgpu), vram0 (xe), local0 (i915)."""
_ALL_MEMORY = re.compile(r"(?:vram|local|gtt|system)\d*", re.ASCII)
"""Those, and what a card takes of the host's memory, which no process's own figures show."""
_KINDS = ("resident", "memory", "total")
"""Of a region's figures, best first: what is on the card now; the same in amdgpu's older words; what was asked for."""
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True)
class Roots:
    """Where the system's files are."""

    drm: Path = Path("/sys/class/drm")
    proc: Path = Path("/proc")


class DrmCard(Probe):
    """One card."""

    def __init__(self, id_: str, card: Path, driver: str, roots: Roots) -> None:
        """`card` is its folder below the class; its PCI address is the name of the folder it leads to."""
        self.id = id_
        self._folder = card / "device"
        self._proc = roots.proc
        self.unified = _is_unified(self._folder)
        """Whether it is part of the processor and takes the host's memory, beside the little set apart for it."""
        self.pci_id = self._folder.resolve().name
        self.name = _text(self._folder / "product_name") or f"{driver} card at {self.pci_id}"

    def unusable(self) -> str:
        """Why no model can be placed here, whatever llama.cpp was built for; empty if one can."""
        return "" if self._totals() else "its driver does not tell how much memory it has"

    def sample(self) -> Sample:
        """What the card is doing; nothing where its driver tells no totals. Raises DeviceLostError once it is gone."""
        if not self._folder.is_dir():
            raise DeviceLostError(f"{self.id} ({self.name}) is not there any more")
        total_bytes, used_bytes = self._totals() or (0, 0)
        return Sample(total_bytes, used_bytes, self.temperature_c(), self.utilisation_percent())

    def _totals(self) -> tuple[int, int] | None:
        for folder in (self._folder, self._folder.parent):
            for all_of_it, part, is_used in _TOTALS:
                total_bytes, part_bytes = _number(folder / all_of_it), _number(folder / part)
                if total_bytes and part_bytes is not None:
                    return total_bytes, part_bytes if is_used else max(0, total_bytes - part_bytes)
        return None

    def temperature_c(self) -> int | None:
        """Of the edge of the chip, which is the first sensor; None where the driver does not tell."""
        inputs = (_number(file) for file in sorted(self._folder.glob("hwmon/hwmon*/temp1_input")))
        return next((thousandths // 1000 for thousandths in inputs if thousandths is not None), None)

    def utilisation_percent(self) -> int | None:
        """None where the driver does not tell."""
        return _number(self._folder / "gpu_busy_percent")

    def process_bytes(self, pid: int) -> int | None:
        """What one process has on the card; None if the process is gone or not ours to look at.

        What is open several times is one client, and counts once.
        """
        try:
            files = list((self._proc / str(pid) / "fdinfo").iterdir())
        except OSError:
            return None
        regions = _ALL_MEMORY if self.unified else _OWN_MEMORY
        clients: dict[str, int] = {}
        for fields in _clients(files):
            if fields.get("drm-pdev") == self.pci_id:
                client = fields.get("drm-client-id", "")
                clients[client] = max(clients.get(client, 0), _region_bytes(fields, regions))
        return sum(clients.values())


def find_drm_cards(roots: Roots | None = None) -> list[DrmCard]:
    """AMD and Intel cards that the kernel drives, in its order; their ids count per maker: amd0, intel0."""
    roots = roots or Roots()
    cards: list[DrmCard] = []
    for folder in sorted(roots.drm.glob("card*"), key=lambda path: (len(path.name), path.name)):
        maker = _MAKERS.get(_text(folder / "device" / "vendor"))
        driver = (folder / "device" / "driver").resolve().name
        # card0-HDMI-A-1 and the like are its connectors
        if maker and driver in _DRIVERS and folder.name[len("card") :].isdigit():
            number = sum(card.id.startswith(maker) for card in cards)
            cards.append(DrmCard(f"{maker}{number}", folder, driver, roots))
    return cards


def _is_unified(device: Path) -> bool:
    """amdgpu shows how busy a memory is that is a card's own, and names its maker.

    Of the cards with their own, one generation lacks the first (Vega 10), and old kernels name none.
    """
    if not (device / "mem_info_vram_total").exists():
        return False
    maker = _text(device / "mem_info_vram_vendor")
    return not (device / "mem_busy_percent").exists() and maker in ("", "unknown")


def _region_bytes(fields: Mapping[str, str], regions: re.Pattern[str]) -> int:
    """What one client has in these regions, of the keys and values of its fdinfo."""
    told: dict[str, dict[str, int]] = {}
    for key, value in fields.items():
        parts = key.split("-", 2)
        if len(parts) == 3 and parts[0] == "drm" and parts[1] in _KINDS and regions.fullmatch(parts[2]):
            told.setdefault(parts[2], {})[parts[1]] = _size_bytes(value)
    return sum(next(kinds[kind] for kind in _KINDS if kind in kinds) for kinds in told.values())


def _clients(files: Sequence[Path]) -> Iterator[dict[str, str]]:
    for file in files:
        lines = _text(file).splitlines()
        fields = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if fields.get("drm-driver") in _DRIVERS:
            yield fields


def _size_bytes(value: str) -> int:
    """0 for what is not in the format."""
    number, _, unit = value.partition(" ")
    return int(number) * _UNITS.get(unit.strip(), 0) if number.isascii() and number.isdigit() else 0


def _text(file: Path) -> str:
    """Empty if the file is not there: which files a card has depends on its driver, and a process closes its own."""
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isascii() and text.isdigit() else None


def find(roots: Roots | None, host: Probe) -> Iterator[Device]:
    """AMD's and Intel's cards."""
    for card in find_drm_cards(roots):
        yield Device(
            card.id,
            LLAMA_CARD,
            card.name,
            BoundedProbe(card.id, UnifiedProbe(card, host) if card.unified else card),
            unusable=SHARED if card.unified else card.unusable(),
            pci_id=card.pci_id,
            shares=HOST if card.unified else "",
        )
