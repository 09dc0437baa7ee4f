"""The supervisor's quotes with a real helper process behind them, for tests that do not run in its loop."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vramd_common.load_settings import LoadOptions, Settings
from vramd_supervisor.domain.catalog import ModelFile
from vramd_supervisor.domain.quote import DeviceBytes, Quote, Source
from vramd_supervisor.files.discovery import file_calls
from vramd_supervisor.quoting.placement import decide
from vramd_supervisor.workers.process import Spawner
from vramd_supervisor.workers.quoter import Quoter
from vramd_supervisor.workers.quotes import EngineFacts, QuotedFile, Quotes

FACTS = EngineFacts(llama_problem="", backends=("CPU",), idle_bytes=0, version="0.3.36")
KINDS = ("weights_bytes", "context_bytes", "compute_bytes")
MIB = 1 << 20


class Desk:
    """Use `desk`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, quoter: Quoter, quotes: Quotes) -> None:
        self._loop = loop
        self._quoter = quoter
        self._quotes = quotes
        self._subjects: dict[Path, QuotedFile] = {}

    def file(self, path: Path) -> ModelFile:
        """What the supervisor knows of a model."""
        return self._subject(path).file

    def skeleton(self, path: Path) -> Path:
        """What the helper is asked about in its place."""
        skeleton = self._subject(path).skeleton
        assert skeleton
        return skeleton

    def settings(self, path: Path, device: str, options: LoadOptions) -> Settings:
        """What the supervisor would load it with."""
        return decide(self.file(path), options, 1, device)

    def dry_run(self, path: Path, settings: Settings) -> Mapping[str, DeviceBytes]:
        """What llama.cpp says that the engine will take."""
        found = self.quote(path, settings)
        assert found.source is Source.DRY_RUN, found
        return found.devices

    def quote(self, path: Path, settings: Settings) -> Quote:
        """Whatever the supervisor comes to."""
        found = self._loop.run_until_complete(self._quotes.quote(self._subject(path), settings, FACTS))
        assert isinstance(found, Quote), found
        return found

    @property
    def helper_pid(self) -> int:
        assert self._quoter.pid
        return self._quoter.pid

    def _subject(self, path: Path) -> QuotedFile:
        if path not in self._subjects:
            self._subjects[path] = self._loop.run_until_complete(self._quotes.quoted(path))
        return self._subjects[path]


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Its helper is gone when the block is left. `folder` takes the skeletons."""
    loop = asyncio.new_event_loop()

    async def begin() -> Quoter:
        return Quoter(Spawner(), str(folder), untested_engine=False)

    quoter = loop.run_until_complete(begin())
    try:
        yield Desk(loop, quoter, Quotes(quoter, folder / "skeletons", (), file_calls()))
    finally:
        loop.run_until_complete(quoter.end())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
