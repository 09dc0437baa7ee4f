"""For all tests."""

import asyncio
import atexit
import inspect
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A shell that runs its children in the background has them ignore Ctrl-C, and their children after them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What this user's supervisor has learned is not for tests to use, and what they load is not for it to learn from.
os.environ["VRAMD_STATE_DIR"] = tempfile.mkdtemp(prefix="vramd-tests-")
atexit.register(shutil.rmtree, os.environ["VRAMD_STATE_DIR"], ignore_errors=True)

# gRPC's poller of an event loop of an earlier test, which is closed, speaks up at any moment in a later one.
logging.getLogger("asyncio").addFilter(
    lambda record: (
        not (
            record.getMessage().startswith("Exception in callback PollerCompletionQueue._handle_events")
            and record.exc_info
            and str(record.exc_info[1]) == "Event loop is closed"
        )
    )
)

# How long an example takes is a matter of the machine, and of what else runs on it.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time: a change is not refused for what another has broken. `check.py --long` draws new ones.
settings.register_profile("vramd", settings.get_profile("random"), derandomize=True)
settings.load_profile("vramd")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escapes captured logs: where tests run in parallel, a file name that is no UTF-8 could not be sent."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**given))
    return True
