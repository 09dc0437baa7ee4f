"""Writes what a core is told and what it answers, one JSON document in each line, so that it can be told it again.

The first line has all that a core is made of. Then each event stands in a line by itself, written before the core sees
it, and what it brought in the next one: if the core fails, the event that made it fail is the last line. There is
nothing of prompts, answers and tokens in events and actions; names and paths of models are.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TextIO

from ..core.actions import Action
from ..core.config import Config
from ..core.core import Core
from ..core.events import Event
from ..core.ledger import Account
from .codec import encode, encode_action, encode_event

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the file; another one is not read."""


@dataclass(frozen=True)
class Header:
    """The first line: what the core was made of. The catalogue comes as an event."""

    format: int
    version: str
    """Of vramd."""
    config: Config
    accounts: Mapping[str, Account]
    usable_cores: int
    spare_bytes: int

    def core(self) -> Core:
        """A new one, as it was."""
        return Core(self.config, self.accounts, self.usable_cores, self.spare_bytes)


class Recorder:
    """Stands between a shell and its core. Writes in the caller's thread and flushes every line."""

    def __init__(self, core: Core, file: TextIO) -> None:
        """Raises OSError. Made before the core has seen an event."""
        self._core = core
        self._file = file
        self._broken = False
        world = core.world
        header = Header(
            FORMAT, version("vramd"), world.config, dict(world.ledger.accounts), world.usable_cores, world.spare_bytes
        )
        self._put(encode(header, Header))
        file.flush()

    def handle(self, event: Event) -> list[Action]:
        """`Core.handle`, recorded. A file that cannot be written ends the recording, not the supervisor."""
        self._write({"event": encode_event(event)})
        actions = self._core.handle(event)
        self._write({"actions": [encode_action(action) for action in actions]})
        return actions

    def _write(self, document: object) -> None:
        if self._broken:
            return
        try:
            self._put(document)
            self._file.flush()
        except OSError as error:
            self._broken = True
            log.error("the recording ends here, it cannot be written: %s", error)

    def _put(self, document: object) -> None:
        self._file.write(json.dumps(document, separators=(",", ":")) + "\n")
