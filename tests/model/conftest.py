"""Fixtures for tests with a real llama.cpp: folders, and the helper that plans loads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.quote_desk import Desk, desk
from support.quoter_process import Quoter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the models of a file."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def plug_ins(pytestconfig: pytest.Config) -> Path:
    """Where virtual GPUs are compiled: once, as long as the source stays."""
    return pytestconfig.cache.mkdir("virtual_gpu")


@pytest.fixture(scope="module")
def quoter() -> Iterator[Quoter]:
    one = Quoter()
    assert one.hello == {"ready": True, "version": "0.3.36", "problem": ""}
    yield one
    one.process.kill()
    one.process.communicate()


@pytest.fixture(scope="module")
def quotes(folder: Path) -> Iterator[Desk]:
    with desk(folder) as one:
        yield one
