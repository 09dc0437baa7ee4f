"""Remembers refusals of the engine until the file or the engine changes, so that no load asks again.

For the event loop's thread.
"""

from collections import OrderedDict
from typing import NamedTuple

from vramd_common.load_settings import Settings

from ..domain.catalog import ModelFile, Problem
from ..domain.device_view import HOST

_MOST_KEPT = 4096


class Way(NamedTuple):
    """A file as it is, the engine, and what that may mind of a load: devices, kind of cache, attention."""

    path: str
    size_bytes: int
    modified_ns: int
    build: str
    devices: tuple[str, ...]
    kv_type: str
    flash_attention: str


def way_of(file: ModelFile, settings: Settings, build: str) -> Way:
    """How a load is done."""
    way = settings.devices, settings.kv_type, settings.flash_attention
    return Way(file.path, file.size_bytes, file.modified_ns, build, *way)


def _file_itself(file: ModelFile, build: str) -> Way:
    """Identifies a file, however it is loaded."""
    return Way(file.path, file.size_bytes, file.modified_ns, build, (), "", "")


def _plain(file: ModelFile, build: str) -> Way:
    """Identifies the plainest load: a refusal of it is a refusal of the model."""
    return _file_itself(file, build)._replace(devices=(HOST,), kv_type="f16", flash_attention="auto")


class Verdicts:
    """By way; the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[Way, Problem | None] = OrderedDict()
        self._died: set[Way] = set()
        """Where the last load's process has died."""

    def is_tried(self, file: ModelFile, build: str) -> bool:
        """Whether the engine was asked about the file itself."""
        return _file_itself(file, build) in self._known

    def of(self, file: ModelFile, build: str) -> Problem | None:
        """Why the engine cannot run a model, however it is loaded; None if it can, or if that is not known."""
        return self._known.get(_file_itself(file, build)) or self._known.get(_plain(file, build))

    def about(self, file: ModelFile, settings: Settings, build: str) -> Problem | None:
        """Why a load with these settings would be refused, as far as that is known."""
        return self.of(file, build) or self._known.get(way_of(file, settings, build))

    def tried(self, file: ModelFile, build: str, problem: Problem | None) -> None:
        """Notes the engine's answer about the file itself."""
        self._keep(_file_itself(file, build), problem)

    def refused(self, way: Way, problem: Problem) -> None:
        """A load has ended like this, and would again."""
        self._keep(way, problem)

    def died(self, way: Way) -> bool:
        """The process of a load has died of it; whether that of the last one like it has as well."""
        again = way in self._died
        self._died.add(way)
        return again

    def loaded(self, way: Way) -> None:
        self._died.discard(way)

    def forget(self, path: str) -> None:
        """Nothing is known of a file any more."""
        for way in [way for way in self._known if way.path == path]:
            del self._known[way]
        self._died = {way for way in self._died if way.path != path}

    def _keep(self, way: Way, problem: Problem | None) -> None:
        self._known[way] = problem
        self._known.move_to_end(way)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
