"""A worker is not believed: whatever it says, its process is ended, its callers are told, everybody else is served."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import vramd
from support.command_line import CONSOLE, run
from support.supervisor_process import SupervisorProcess, simulated

LIAR = Path(__file__).parents[1] / "support" / "liar"
LIES = re.findall(r'(?:case |    )"(\w+: [\w ]+)"', (LIAR / "vramd_worker" / "boot.py").read_text("utf-8"))
HARMLESS = {
    "answer: goes on after its end",
    "answer: stays open after its end",
    "answer: a status after its end",
}
"""The answer is whole, so its caller has it."""
SLOW = {"answer: stays open after its end"}
"""It may only be slow, so its process is left to its beats."""
ENDED = {"WORKER_CRASHED", "WORKER_CRASHED_MID_STREAM"}


def named(lie: str) -> str:
    return re.sub(r"\W+", "-", lie)


MODELS = "[server]\nspare = false\nstrikes = 0\n[scheduling]\nstop_s = 0.3\n" + "".join(
    simulated(named(lie), card="", host="1MiB", expendable=True) for lie in LIES
)
CALLS: dict[str, Callable[[vramd.Client, str], object]] = {
    "hello": lambda client, model: client.load(model),
    "load": lambda client, model: client.load(model),
    "beat": lambda client, model: client.load(model),
    "answer": lambda client, model: list(client.generate(model, "x", max_tokens=20)),
    "embed": lambda client, model: client.embed(model, "x"),
    "tokenize": lambda client, model: client.tokenize(model, "x"),
    "detokenize": lambda client, model: client.detokenize(model, [1]),
}


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("liar")
    shutil.copytree(LIAR, folder, dirs_exist_ok=True)
    (folder / "lie").write_text("honest")
    return folder


@pytest.fixture(scope="module")
def supervisor(liar: Path) -> Iterator[SupervisorProcess]:
    with SupervisorProcess(MODELS, environment={"PYTHONPATH": str(liar)}) as one:
        yield one.ready()


@pytest.fixture(scope="module")
def client(supervisor: SupervisorProcess) -> vramd.Client:
    return supervisor.client()


def test_there_are_many_lies() -> None:
    assert len(LIES) > 24
    assert {lie.partition(":")[0] for lie in LIES} == {*CALLS}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_the_process_and_costs_its_own_callers_only(
    lie: str, liar: Path, supervisor: SupervisorProcess, client: vramd.Client
) -> None:
    (liar / "lie").write_text(lie)
    call, model = CALLS[lie.partition(":")[0]], named(lie)
    with supervisor.news() as story:
        if lie in HARMLESS:
            assert call(client, model)
        else:
            with pytest.raises(vramd.VramdError) as failed:
                call(client, model)
            assert failed.value.reason in ENDED, failed.value
            assert "secrets" not in str(failed.value)
        if lie in SLOW:
            assert call(client, model), "its process serves on"
        else:
            story.reached(model, "UNLOADED")
    assert client.status().supervisor.pid == supervisor.pid
    assert psutil.Process(supervisor.pid).memory_info().rss < 300 << 20
    assert "Traceback" not in supervisor.printed


def test_the_command_line_tells_an_answer_without_an_end(liar: Path, supervisor: SupervisorProcess) -> None:
    lie = "answer: no end is told"
    (liar / "lie").write_text(lie)
    done = run(supervisor.folder.path, *CONSOLE, "run", named(lie), "x")
    assert done.returncode == 1
    assert "it ended an answer without saying how" in done.stderr
