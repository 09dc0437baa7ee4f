"""Reads the configuration again while the supervisor runs: all of it is taken in, or nothing changes."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vramd_common.reasons import Reason

from .core.events import ConfigurationRead
from .devices.device import Device
from .domain.catalog import Model, ModelFile
from .domain.config import Config
from .domain.device_view import Limits, Sample, limits
from .domain.errors import RefusedError, refusal
from .files.discovery import roots
from .loop import Loop
from .model_folders import Folders
from .settings.config_diff import Change, merge
from .settings.settings_file import ConfigError, Origin
from .threads.serial_calls import NoAnswerError, SerialCalls

log = logging.getLogger(__name__)

READ_S = 10.0


class Reloading:
    """One reload at a time."""

    def __init__(
        self, origin: Origin, loop: Loop, folders: Folders, devices: Sequence[Device], samples: Mapping[str, Sample]
    ) -> None:
        """`samples` is kept current, by device."""
        self.file = str(origin.file or "")
        self._origin = origin
        self._loop = loop
        self._folders = folders
        self._devices = devices
        self._samples = samples
        self._one_at_a_time = asyncio.Lock()
        self._reading = SerialCalls(self.file or "the configuration", READ_S)

    async def reload(self, *, check_only: bool) -> tuple[Change, ...]:
        """Returns what has changed since the configuration in force was read, and takes it in unless `check_only`.

        Raises RefusedError for a configuration that is wrong, or a drive that does not answer.
        """
        async with self._one_at_a_time:
            read = await self._read()
            loaded = {model.id for model in self._loop.core.all_models() if model.worker_id}
            there = {device.id for device in self._devices if self._samples[device.id].total_bytes}
            merged, changes = merge(self._loop.core.config, read, there, loaded)
            if check_only or not changes:
                return changes
            await self._folders.take(merged, lambda models: self._event(merged, models))
        for change in changes:
            log.info("%s: %r -> %r (%s)", change.key, change.before, change.after, change.effect.name)
        return changes

    async def _read(self) -> Config:
        try:
            return await self._reading.run(self._origin.read)
        except NoAnswerError as error:
            raise RefusedError(refusal(Reason.FILE_UNANSWERED, str(error), path=self.file)) from None
        except ConfigError as error:
            log.warning("the configuration is not taken in: %s", error)
            why = refusal(
                Reason.CONFIG_INVALID, str(error), file=str(error.file or ""), line=error.line or 0, key=error.key
            )
            raise RefusedError(why) from None

    def _event(self, config: Config, models: Mapping[str, Model]) -> ConfigurationRead:
        core = self._loop.core
        looked_into = roots(config, os.environ, Path.home())
        gone = (model for model in core.all_models() if model.listed and model.id not in models)
        removed = [
            model.id for model in gone if model.id in core.config.models or _lies_outside(model.spec, looked_into)
        ]
        return ConfigurationRead(self._loop.now_s(), config, self._limits(config), models, removed)

    def _limits(self, config: Config) -> dict[str, Limits]:
        """Of the devices that have answered; the others keep what they had, which `merge` says."""
        totals = {device.id: self._samples[device.id].total_bytes for device in self._devices}
        return {
            device.id: limits(config, device.id, device.kind, total)
            for device in self._devices
            if (total := totals[device.id])
        }


def _lies_outside(model: Model, folders: Sequence[Path]) -> bool:
    file = model.source
    return isinstance(file, ModelFile) and not any(Path(file.path).is_relative_to(folder) for folder in folders)
