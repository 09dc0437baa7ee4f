"""A jump of the system's monotonic clock, as after a suspend, ends neither streams nor loads nor holds."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.supervisor_process import SupervisorProcess, busy, simulated, until

JUMPS = """
import os, time
real = time.monotonic
time.monotonic = lambda: real() + os.stat({file!r}).st_size
"""
"""The size of a file is the seconds that the clock is ahead."""
AHEAD_S = 100_000
JUMPED = re.compile(r"\d{5,}\.\d s are not counted")

MODELS = (
    "[server]\nspare = false\nload_deadline_s = 60\n"
    + simulated("streaming", card="", tokens_per_s=50)
    + simulated("idle", card="", keep_alive_s=300)
    + simulated("held", card="", keep_alive_s=300)
    + simulated("loading", card="", load_s=4)
)


def test_what_waits_for_a_moment_waits_for_the_rest_of_its_time(tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.touch()
    (tmp_path / "sitecustomize.py").write_text(JUMPS.format(file=str(ahead)), "utf-8")
    with SupervisorProcess(MODELS, environment={"PYTHONPATH": str(tmp_path)}) as supervisor:
        client = supervisor.client()
        idle = client.load("idle").pid
        with (
            ThreadPoolExecutor() as others,
            supervisor.news() as story,
            busy(client, "streaming") as answer,
            client.hold("held"),
        ):
            load = others.submit(supervisor.client().load, "loading")
            story.reached("loading", "LOADING")
            for jumps, ahead_s in enumerate((AHEAD_S, 0), 1):
                os.truncate(ahead, ahead_s)
                # A supervisor that is held up for some seconds says that of them, too.
                until("it is noticed", lambda: len(JUMPED.findall(supervisor.printed)) == jumps)  # noqa: B023
                for _ in range(20):
                    next(answer)
            assert load.result().pid
            assert client.load("idle").pid == idle
            assert [story.changes(model, "UNLOADED") for model in ("streaming", "idle", "held")] == [[], [], []]
        assert client.status().supervisor.uptime_s < AHEAD_S
