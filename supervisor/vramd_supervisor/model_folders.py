"""Keeps the catalogue: reads the folders at the start, on demand, and when they change or answer late."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vramd_common.reasons import Reason

from .core.events import CatalogueRead, Event
from .core.state import ModelState
from .domain.catalog import Model, ModelFile
from .domain.config import Config
from .domain.errors import RefusedError, refusal
from .files.discovery import Discovery, roots
from .files.watch import END_S, Watch
from .loop import Loop
from .settings.listing import Held, catalogue
from .threads.serial_calls import NoAnswerError, SerialCalls

log = logging.getLogger(__name__)

START_S = 10.0
"""For the first look; then clients are served, and hear of the models when they are found."""
LOOK_S = 600.0
"""Thousands of files take minutes over a network."""
AGAIN_S = 2.0
"""For a few files, while a caller waits."""


@dataclass(frozen=True)
class Rescanned:
    """The outcome of a new look into the folders."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    known: int


class Folders:
    """The folders of models, as configured."""

    def __init__(self, config: Config, base: Path, loop: Loop) -> None:
        """`base` is where relative paths of the configuration start."""
        self._config = config
        self._discovery = Discovery(config, base, os.environ, Path.home(), self._changed)
        self._watches = {folder: Watch(folder, self._changed) for folder in _watched(config)}
        self._loop = loop
        self._event_loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._looking = SerialCalls("the folders of models", LOOK_S)
        self._again = SerialCalls("what has a problem", AGAIN_S)
        self._own_look: asyncio.Task[None] | None = None
        """A look that no caller has asked for."""
        self._to_look = False
        """Something has changed since it began, or something passed over has answered."""

    async def begin(self) -> None:
        """Looks for the first time, within a bound, and watches from now on."""
        for watch in self._watches.values():
            watch.begin()
        self._own_look = asyncio.create_task(self._look())
        await asyncio.wait([self._own_look], timeout=START_S)
        if not self._own_look.done():
            log.warning("models are still looked for after %g s: a drive may be slow, or gone", START_S)

    async def end(self) -> None:
        for watch in self._watches.values():
            watch.leave()
        with contextlib.suppress(NoAnswerError):
            await SerialCalls("what watches folders", END_S).run(self._join)

    def _join(self) -> None:
        for watch in self._watches.values():
            watch.join()

    async def _look(self) -> None:
        self._to_look = True
        while self._to_look:
            self._to_look = False
            try:
                began = bool(self._loop.core.all_models())
                changes = await self.rescan()
                if began and (changes.added or changes.removed):
                    names = [*(f"+ {model}" for model in changes.added), *(f"- {model}" for model in changes.removed)]
                    log.info("models: %s", ", ".join(names))
            except RefusedError as error:
                log.error("models cannot be looked for: %s", error.refusal.message)
            except Exception:
                log.exception("a fault while models were looked for")

    def _changed(self) -> None:
        """Called from any thread."""
        with contextlib.suppress(RuntimeError):  # the supervisor has ended
            self._event_loop.call_soon_threadsafe(self._look_soon)

    def _look_soon(self) -> None:
        self._to_look = True
        if self._own_look is None or self._own_look.done():
            self._own_look = asyncio.create_task(self._look())

    async def rescan(self) -> Rescanned:
        """Looks into them again. Raises RefusedError if a drive does not answer."""
        async with self._one_at_a_time:
            models = await self._look_with(self._config, self._discovery)
            listed = {model.id for model in self._loop.core.all_models() if model.listed}
            self._loop.submit(CatalogueRead(self._loop.now_s(), models))
        added, removed = sorted(models.keys() - listed), sorted(listed - models.keys())
        return Rescanned(tuple(added), tuple(removed), len(models))

    async def take(self, config: Config, event: Callable[[Mapping[str, Model]], Event]) -> None:
        """Looks with another configuration and, with what `event` makes of the models, has that be in force.

        Raises RefusedError if a drive does not answer: nothing has changed then.
        """
        async with self._one_at_a_time:
            discovery = self._discovery.with_config(config)
            models = await self._look_with(config, discovery)
            self._loop.submit(event(models))
            self._config, self._discovery = config, discovery
        watched = _watched(config)
        gone = {folder: self._watches.pop(folder) for folder in self._watches.keys() - set(watched)}
        for watch in gone.values():
            watch.leave()
        for folder in watched:
            if folder not in self._watches:
                self._watches[folder] = Watch(folder, self._changed)
                self._watches[folder].begin()

    async def _look_with(self, config: Config, discovery: Discovery) -> dict[str, Model]:
        known = self._loop.core.all_models()
        files = {model.id: file for model in known if isinstance(file := model.spec.source, ModelFile)}
        try:
            looked = await self._looking.run(partial(discovery.look, files))
        except NoAnswerError as error:
            path = os.pathsep.join(config.server.models)
            raise RefusedError(refusal(Reason.FILE_UNANSWERED, str(error), path=path)) from None
        # Which models are in use may have changed meanwhile, and must not change before the event is submitted.
        known = self._loop.core.all_models()
        before = {
            model.id: Held(model.spec, model.state is not ModelState.UNLOADED or model.changed) for model in known
        }
        return catalogue(config, *looked, before)

    async def look_again(self) -> None:
        """Rescans if a file that has a problem, or a folder that was away, is not as it was when it was read."""
        with contextlib.suppress(NoAnswerError, RefusedError):  # then nothing new is known of it
            if await self._again.run(self._discovery.has_changed):
                await self.rescan()


def _watched(config: Config) -> list[Path]:
    if not config.server.watch:
        return []
    return roots(config, os.environ, Path.home())
