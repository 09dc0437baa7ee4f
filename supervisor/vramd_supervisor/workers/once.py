"""Quotes without a supervisor: for programs that ask once and end."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..files.reading import reading_lanes
from .quoter import Quoter
from .quotes import Quotes
from .spawner import Spawner


@asynccontextmanager
async def quotes_once() -> AsyncIterator[Quotes]:
    """Knows no devices and remembers nothing; its helper process is gone when the block is left."""
    with tempfile.TemporaryDirectory(prefix="vramd-") as folder:
        quoter = Quoter(Spawner(), folder, untested_engine=False)
        try:
            yield Quotes(quoter, Path(folder), (), reading_lanes())
        finally:
            await quoter.end()
