"""A process that the kernel kills for want of memory: told as that, and its callers too."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

LIMIT_BYTES = 200 << 20
"""Enough for the supervisor and an idle process, too little for one that takes 300 MiB with each request."""


def _make() -> tuple[Path, str]:
    """A memory control group, and the name of the file of its limit. Raises OSError."""
    for top, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        if (top / "cgroup.procs").exists():
            folder = top / f"vramd-test-{os.getpid()}"
            folder.mkdir()
            return folder, limit
    raise OSError("no control groups are mounted")


@pytest.fixture
def group() -> Iterator[Path]:
    try:
        folder, limit = _make()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (folder / limit).write_text(str(LIMIT_BYTES))
        yield folder
    except OSError as error:
        pytest.skip(f"no limit of memory can be set here: {error}")
    finally:
        until("the group is empty", lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_a_kill_of_the_kernel_is_told_as_that(group: Path) -> None:
    leaking = simulated("leaking", card="", host="1MiB", manners=["leak"])
    with SupervisorProcess(f'[server]\nspare = false\nstrikes = 0\nheadroom = "1MiB"\n{leaking}') as supervisor:
        client = supervisor.client()
        (group / "cgroup.procs").write_text(str(supervisor.ready().pid))
        with pytest.raises(vramd.Quarantined) as failed:
            list(client.generate("leaking", "x", max_tokens=3, timeout_s=90))
        assert failed.value.reason == "REQUEST_QUARANTINED", "two processes ran out of memory under it"
        deaths = client.model("leaking").deaths
        assert deaths
        assert (deaths.exit, deaths.message) == ("out_of_memory", "killed by the kernel, which had no memory left")
        loads = [one.message for one in client.decisions("leaking") if one.kind == "load"]
        assert sum("ran out of memory, so it shall take less" in one for one in loads) == 1
