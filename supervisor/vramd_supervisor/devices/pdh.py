r"""GPU memory of each process by Windows' counters: Windows manages the memory, so the driver does not report it.

pdh.dll reads the counters \GPU Process Memory(pid_*)\Dedicated Usage and \Shared Usage; no rights are needed. Under
Windows, a full card does not fail: it continues, many times slower, in shared host memory.
"""

import ctypes
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..domain.device_view import Sample
from .probe import Probe

_log = logging.getLogger(__name__)

SPILL_BYTES = 64 << 20
"""Growth in shared memory since a model was ready beyond which it has spilled; drivers move a few MiB anyway."""

_INSTANCE = re.compile(r"pid_(\d+)_luid_0x[0-9a-f]+_0x[0-9a-f]+_phys_\d+(?:#\d+)?", re.ASCII | re.IGNORECASE)
_DEDICATED = r"\GPU Process Memory(*)\Dedicated Usage"
_SHARED = r"\GPU Process Memory(*)\Shared Usage"


class Counters(Protocol):
    def dedicated(self) -> Mapping[int, int]:
        """Returns the bytes on cards, by process. Raises OSError."""

    def shared(self) -> Mapping[int, int]:
        """Returns the bytes in host memory that cards use, by process. Raises OSError."""


def by_process(instances: Iterable[tuple[str, int]]) -> dict[int, int]:
    """Sums counted bytes by process, over the adapters it uses. Names that are not of a process are skipped."""
    sums: dict[int, int] = {}
    for name, size in instances:
        if match := _INSTANCE.fullmatch(name):
            pid = int(match[1])
            sums[pid] = sums.get(pid, 0) + size
    return sums


class Growth:
    """The growth of processes since each was first seen."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def grown_bytes(self, now: Mapping[int, int], pids: Sequence[int]) -> int:
        """Returns the total growth of these processes. Any other process is forgotten, as its number may be reused."""
        self._first = {pid: self._first.get(pid, now.get(pid, 0)) for pid in pids}
        return sum(max(0, now.get(pid, 0) - first) for pid, first in self._first.items())


class WddmProbe(Probe):
    """Measures a card under Windows: the card by its driver, processes by Windows."""

    def __init__(self, card: Probe, counters: Counters) -> None:
        self._card = card
        self._counters = counters
        self._growth = Growth()

    def sample(self) -> Sample:
        """Returns the driver's figures. Raises DeviceLostError."""
        return self._card.sample()

    def process_bytes(self, pid: int) -> int | None:
        """Returns the driver's figure (cards without a display have one), else Windows' count."""
        told = self._card.process_bytes(pid)
        if told is not None:
            return told
        try:
            return self._counters.dedicated().get(pid)
        except OSError as error:
            _log.debug("what process %d has on a card cannot be known: %s", pid, error)
            return None

    def spilled_bytes(self, pids: Sequence[int]) -> int:
        """Returns the growth in shared memory; a model has spilled if it exceeds SPILL_BYTES."""
        try:
            return self._growth.grown_bytes(self._counters.shared(), pids)
        except OSError as error:
            _log.debug("what cards have spilled cannot be known: %s", error)
            return 0


if sys.platform == "win32":
    _FORMAT_LARGE = 0x00000400
    _MORE_DATA = 0x800007D2
    _NOTHING = frozenset({0x800007D1, 0x800007D5})
    """Codes PDH_CSTATUS_NO_INSTANCE and PDH_NO_DATA: no process uses a card now."""
    _VALID = frozenset({0, 1})
    """PDH_CSTATUS_VALID_DATA, PDH_CSTATUS_NEW_DATA."""
    _TRIES = 5

    class _Value(ctypes.Structure):
        """PDH_FMT_COUNTERVALUE in its large form; the status is padded to eight bytes."""

        _fields_ = (("status", ctypes.c_uint32), ("large", ctypes.c_int64))

    class _Item(ctypes.Structure):
        """PDH_FMT_COUNTERVALUE_ITEM_W."""

        _fields_ = (("name", ctypes.c_wchar_p), ("value", _Value))

    class PdhCounters:
        """A query on both counters. Raises OSError where Windows lacks them (before Windows 10 1709)."""

        def __init__(self) -> None:
            self._pdh = ctypes.WinDLL("pdh.dll")
            self._lock = threading.Lock()
            self._query = ctypes.c_void_p()
            self._must(self._pdh.PdhOpenQueryW(None, None, ctypes.byref(self._query)))
            self._dedicated = self._add(_DEDICATED)
            self._shared = self._add(_SHARED)

        def dedicated(self) -> Mapping[int, int]:
            """Returns the bytes on cards, by process. Raises OSError."""
            return by_process(self._read(self._dedicated))

        def shared(self) -> Mapping[int, int]:
            """Returns the bytes in host memory that cards use, by process. Raises OSError."""
            return by_process(self._read(self._shared))

        def _add(self, path: str) -> ctypes.c_void_p:
            counter = ctypes.c_void_p()
            self._must(self._pdh.PdhAddEnglishCounterW(self._query, path, None, ctypes.byref(counter)))
            return counter

        def _read(self, counter: ctypes.c_void_p) -> list[tuple[str, int]]:
            """Returns the counter's current instances."""
            with self._lock:
                code = self._code(self._pdh.PdhCollectQueryData(self._query))
                buffer, count = ctypes.create_string_buffer(0), ctypes.c_uint32(0)
                # Instances may appear between the query for the size and the next one: then both are repeated.
                for _ in range(_TRIES) if not code else ():
                    size = ctypes.c_uint32(0)
                    code = self._array(counter, size, count, None)
                    if code == _MORE_DATA:
                        buffer = ctypes.create_string_buffer(size.value)
                        code = self._array(counter, size, count, buffer)
                    if code != _MORE_DATA:
                        break
                if code in _NOTHING:
                    return []
                self._must(code)
                items = ctypes.cast(buffer, ctypes.POINTER(_Item))
                listed = [items[place] for place in range(count.value)]
                return [(item.name, item.value.large) for item in listed if item.value.status in _VALID]

        def _array(
            self,
            counter: ctypes.c_void_p,
            size: ctypes.c_uint32,
            count: ctypes.c_uint32,
            buffer: "ctypes.Array[ctypes.c_char] | None",
        ) -> int:
            sizes = (ctypes.byref(size), ctypes.byref(count))
            return self._code(self._pdh.PdhGetFormattedCounterArrayW(counter, _FORMAT_LARGE, *sizes, buffer))

        def _code(self, status: int) -> int:
            return status & 0xFFFFFFFF

        def _must(self, status: int) -> None:
            if self._code(status):
                raise OSError(f"Windows's performance counters answer 0x{self._code(status):08X}")


def open_counters() -> Counters | None:
    """Returns Windows' counters; None on other systems, and where Windows has none."""
    if sys.platform == "win32":
        try:
            return PdhCounters()
        except OSError as error:
            _log.info("what processes have on cards cannot be known: %s", error)
    return None
