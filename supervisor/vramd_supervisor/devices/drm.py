"""AMD and Intel cards on Linux: totals from sysfs, bytes of a process from /proc/<pid>/fdinfo.

The format is the kernel's Documentation/gpu/drm-usage-stats.rst. The card itself is not accessed, so nothing
here wakes it or fails for lack of rights: a process may read what its children have open.
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
"""Files with a total and with its used or free part: amdgpu, and i915 as Intel ships it for its servers. The kernel's
xe and i915 report no totals."""
_OWN_MEMORY = re.compile(r"(?:vram|local)\d*", re.ASCII)
"""Regions on the card: vram (amdgpu), vram0 (xe), local0 (i915)."""
_ALL_MEMORY = re.compile(r"(?:vram|local|gtt|system)\d*", re.ASCII)
"""Regions on the card and in host memory; a process's usual figures do not show the latter."""
_KINDS = ("resident", "memory", "total")
"""Figures of a region, best first: bytes on the card now; the same under amdgpu's older name; bytes requested."""
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True)
class Roots:
    drm: Path = Path("/sys/class/drm")
    proc: Path = Path("/proc")


class DrmCard(Probe):
    def __init__(self, id_: str, card: Path, driver: str, roots: Roots) -> None:
        """`card` is the card's folder below the class, a link to a folder that is named by the PCI address."""
        self.id = id_
        self._folder = card / "device"
        self._proc = roots.proc
        self.unified = _is_unified(self._folder)
        """Whether it is part of the processor and uses host memory beyond the little reserved for it."""
        self.pci_id = self._folder.resolve().name
        self.name = _text(self._folder / "product_name") or f"{driver} card at {self.pci_id}"

    def unusable(self) -> str:
        """Says why no model can be placed here, whichever backends llama.cpp has; empty if one can."""
        return "" if self._totals() else "its driver does not tell how much memory it has"

    def sample(self) -> Sample:
        """Measures the card; totals are 0 where its driver reports none. Raises DeviceLostError once it is gone."""
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
        """Returns the temperature at the edge of the chip, the first sensor; None where the driver reports none."""
        inputs = (_number(file) for file in sorted(self._folder.glob("hwmon/hwmon*/temp1_input")))
        return next((thousandths // 1000 for thousandths in inputs if thousandths is not None), None)

    def utilisation_percent(self) -> int | None:
        """Returns the utilisation; None where the driver does not report it."""
        return _number(self._folder / "gpu_busy_percent")

    def process_bytes(self, pid: int) -> int | None:
        """Returns the bytes of one process on the card; None if the process is gone or may not be read.

        A client that is open several times counts once.
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
    """Returns AMD and Intel cards in the kernel's order; their ids count per maker: amd0, intel0."""
    roots = roots or Roots()
    cards: list[DrmCard] = []
    for folder in sorted(roots.drm.glob("card*"), key=lambda path: (len(path.name), path.name)):
        maker = _MAKERS.get(_text(folder / "device" / "vendor"))
        driver = (folder / "device" / "driver").resolve().name
        # card0-HDMI-A-1 and the like are connectors
        if maker and driver in _DRIVERS and folder.name[len("card") :].isdigit():
            number = sum(card.id.startswith(maker) for card in cards)
            cards.append(DrmCard(f"{maker}{number}", folder, driver, roots))
    return cards


def _is_unified(device: Path) -> bool:
    """Returns whether a card uses host memory: for dedicated memory amdgpu shows how busy it is, and names its maker.

    One generation of dedicated cards lacks the former (Vega 10), and old kernels name no maker.
    """
    if not (device / "mem_info_vram_total").exists():
        return False
    maker = _text(device / "mem_info_vram_vendor")
    return not (device / "mem_busy_percent").exists() and maker in ("", "unknown")


def _region_bytes(fields: Mapping[str, str], regions: re.Pattern[str]) -> int:
    """Returns the bytes of one client in these regions, from the keys and values of its fdinfo."""
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
    """Parses a size; 0 if it is not in the format."""
    number, _, unit = value.partition(" ")
    return int(number) * _UNITS.get(unit.strip(), 0) if number.isascii() and number.isdigit() else 0


def _text(file: Path) -> str:
    """Reads a file; empty if it does not exist: a card's files depend on its driver, and processes close theirs."""
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isascii() and text.isdigit() else None


def find(roots: Roots | None, host: Probe) -> Iterator[Device]:
    """Yields AMD and Intel cards as devices."""
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
