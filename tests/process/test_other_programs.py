"""CPU threads beside other programs that compute."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

CONFIGURATION = simulated("wide", card="", tokens_per_s=20, threads=64)


@contextlib.contextmanager
def computing(programs: int) -> Iterator[None]:
    """So many programs compute, each on one thread."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def test_a_model_leaves_the_cores_to_other_programs(shared: SupervisorProcess, client: vramd.Client) -> None:
    cores = client.status().supervisor.usable_cores
    if cores < 2:
        pytest.skip("one core is left always")
    with client.generate("wide", "x", max_tokens=2000) as answer, computing(cores):
        next(answer)
        until("one core is left", lambda: client.status().supervisor.cores_left == 1)
        (told,) = until("why says so", lambda: [one for one in client.decisions("wide") if one.kind == "threads"])
        # With many cores the first measurement may have seen the programs begin.
        assert re.match(rf"computes with \d+ instead of {cores} CPU threads: other programs take ", told.message)
        with client.logs("wide", lines=100, follow=True) as lines:
            assert any(line == "simulated: 1 threads" for line in lines)
