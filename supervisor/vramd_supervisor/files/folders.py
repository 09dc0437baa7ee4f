"""Reads which models there are, at the start and on demand, and tells the core."""

import asyncio
import os
from pathlib import Path

from ..core.catalog import Model
from ..core.config import Config
from ..core.events import CatalogueRead
from ..core.listing import catalogue
from ..loop import Loop
from ..services.service_models import Rescanned
from .discovery import configured_files, discover, folders_to_scan


class Folders:
    """The folders of models, as configured."""

    def __init__(self, config: Config, base: Path, loop: Loop) -> None:
        """`base` is where relative paths of the configuration start."""
        self._config = config
        self._base = base
        self._loop = loop
        self._one_at_a_time = asyncio.Lock()

    async def rescan(self) -> Rescanned:
        """Looks into them again; takes as long as the disk does."""
        async with self._one_at_a_time:
            models = await asyncio.to_thread(self._read)
            before = {id_ for id_, entry in self._loop.core.world.entries.items() if entry.listed}
            self._loop.submit(CatalogueRead(self._loop.now_s(), models))
        added, removed = sorted(models.keys() - before), sorted(before - models.keys())
        return Rescanned(tuple(added), tuple(removed), len(models))

    def _read(self) -> dict[str, Model]:
        found = discover(folders_to_scan(self._config, os.environ, Path.home()))
        return catalogue(self._config, found, configured_files(self._config, self._base, found.values()))
