"""Reads which models there are, at the start and on demand, and tells the core."""

import asyncio
import os
from pathlib import Path

from ..core.config import Config
from ..core.events import CatalogueRead
from ..core.listing import Held
from ..core.state import ModelState, is_changed
from ..loop import Loop
from ..services.service_models import Rescanned
from .discovery import Discovery


class Folders:
    """The folders of models, as configured."""

    def __init__(self, config: Config, base: Path, loop: Loop) -> None:
        """`base` is where relative paths of the configuration start."""
        self._discovery = Discovery(config, base, os.environ, Path.home())
        self._loop = loop
        self._one_at_a_time = asyncio.Lock()

    async def rescan(self) -> Rescanned:
        """Looks into them again; takes as long as the disk does."""
        async with self._one_at_a_time:
            entries = self._loop.core.world.entries
            before = {
                id_: Held(entry.model, entry.state is not ModelState.UNLOADED or is_changed(entry))
                for id_, entry in entries.items()
            }
            models = await asyncio.to_thread(self._discovery.look, before)
            listed = {id_ for id_, entry in entries.items() if entry.listed}
            self._loop.submit(CatalogueRead(self._loop.now_s(), models))
        added, removed = sorted(models.keys() - listed), sorted(listed - models.keys())
        return Rescanned(tuple(added), tuple(removed), len(models))

    async def look_again(self) -> None:
        """Rescans if a file that has a problem, or a folder that was away, is not as it was when it was read."""
        if await asyncio.to_thread(self._discovery.has_changed):
            await self.rescan()
