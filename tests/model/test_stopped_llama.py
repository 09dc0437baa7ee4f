"""A stopped process of llama.cpp is replaced in time while seven others decode on two cores; none of the seven is."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

pytest.importorskip("llama_cpp")

import vramd
from support.gguf_models import Shape, random_llama
from support.supervisor_process import SupervisorProcess, until
from vramd_supervisor.domain.config import ServerConfig

SHAPE = Shape(embedding=256, layers=4, heads=4, kv_heads=4, feed_forward=512, context=2048)
NEIGHBOURS = tuple(f"neighbour{number}" for number in range(7))
STALL_S = ServerConfig().stall_s
REPLACED_S = STALL_S + 5.0


@pytest.fixture
def supervisor(folder: Path) -> Iterator[SupervisorProcess]:
    tables = []
    for name in (*NEIGHBOURS, "stopped"):
        path = random_llama(folder / f"{name}.gguf", SHAPE)
        tables.append(f'[models.{name}]\npath = "{path.as_posix()}"\ncontext = 2048\n')
    with SupervisorProcess("".join(tables)) as supervisor:
        yield supervisor.ready()


@pytest.mark.long
def test_a_stopped_process_is_replaced_and_none_of_seven_that_decode(supervisor: SupervisorProcess) -> None:
    over, answers = threading.Event(), dict.fromkeys((*NEIGHBOURS, "stopped"), 0)

    def keep_busy(client: vramd.Client, model: str) -> None:
        while not over.is_set():
            assert client.generate(model, "once upon a time", max_tokens=200, seed=1).text
            answers[model] += 1

    def pid_of(model: str) -> int:
        resident = supervisor.client().model(model).resident
        assert resident is not None
        assert resident.pid is not None
        return resident.pid

    with supervisor.story() as story, ThreadPoolExecutor(len(answers)) as pool:
        try:
            callers = [pool.submit(keep_busy, supervisor.client(), model) for model in answers]
            until("all answer", lambda: all(answers.values()), bound_s=120.0)
            before = {model: pid_of(model) for model in answers}
            since_s = time.time()
            psutil.Process(before["stopped"]).suspend()
            given = answers["stopped"]
            until("it answers again", lambda: answers["stopped"] > given, bound_s=120.0)
        finally:
            over.set()
        for caller in callers:
            caller.result()
        assert story.changes("stopped", "STOPPING")[0].cause == "hung"
        assert story.moment("stopped", "STOPPING") - since_s < REPLACED_S
        assert pid_of("stopped") != before["stopped"]
        assert {model: pid_of(model) for model in NEIGHBOURS} == {model: before[model] for model in NEIGHBOURS}
        print(f"replaced after {story.moment('stopped', 'STOPPING') - since_s:.1f} s; answers: {answers}")
        assert not [name for name in NEIGHBOURS if story.changes(name, "STOPPING")]
