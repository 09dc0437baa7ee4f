"""Fixtures for tests of real processes: a supervisor for all tests of a file, what it tells, and a single worker."""

from collections.abc import Iterator

import pytest
import vramd
from support.supervisor_process import Story, SupervisorProcess
from support.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[SupervisorProcess]:
    """With the CONFIGURATION of the file."""
    with SupervisorProcess(request.module.CONFIGURATION) as supervisor:
        yield supervisor.ready()


@pytest.fixture
def client(shared: SupervisorProcess) -> vramd.Client:
    return shared.client()


@pytest.fixture
def cleared(shared: SupervisorProcess) -> Iterator[None]:
    """Leaves no model loaded to the next test."""
    yield
    shared.clear()


@pytest.fixture
def story(shared: SupervisorProcess) -> Iterator[Story]:
    """What it tells from the beginning of the test on."""
    with shared.news() as story:
        yield story


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess() as worker:
        yield worker
