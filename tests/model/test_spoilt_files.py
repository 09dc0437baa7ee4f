"""Spoilt model files, through the load of a worker and through a whole supervisor.

A fault in native code may end the process that loads such a file; what it may not do is to hang, to answer with
something that is no answer, or to harm anything else.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
import vramd
from gguf import GGUFReader
from support.gguf_fork_server import ForkServer, Outcome
from support.gguf_models import Shape, random_llama
from support.spoiling import spoilt
from support.supervisor_process import BOUND_S, SupervisorProcess

pytest.importorskip("llama_cpp")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork")

SEED = 1
SERVERS = 2
SMALL = Shape(embedding=64, layers=1, heads=2, kv_heads=1, feed_forward=64, context=256, vocabulary=300)
MOST_GROWTH_BYTES = 24 << 20
"""What a supervisor may come to hold over all these files: names, logs, decisions."""


@dataclass(frozen=True)
class Tried:
    """Spoilt files, and what came of loading each; `through` of them are for the whole supervisor too."""

    files: Sequence[tuple[bytes, Outcome]]
    through: int


@pytest.fixture(
    scope="module",
    params=[pytest.param((120, 8), id="short"), pytest.param((2500, 60), id="long", marks=pytest.mark.long)],
)
def tried(request: pytest.FixtureRequest, folder: Path) -> Tried:
    count, through = request.param
    whole = random_llama(folder / "whole.gguf", SMALL)
    data, header_bytes, dice = whole.read_bytes(), GGUFReader(whole).data_offset, Random(SEED)
    files = [spoilt(data, dice, most=header_bytes) for _ in range(count)]

    def outcomes(number: int) -> Iterator[tuple[bytes, Outcome]]:
        path = folder / f"spoilt-{number}.gguf"
        with ForkServer() as server:
            for data in files[number::SERVERS]:
                path.write_bytes(data)
                yield data, server.outcome(path)

    with ThreadPoolExecutor(SERVERS) as pool:
        found = list(pool.map(lambda number: list(outcomes(number)), range(SERVERS)))
    return Tried([one for share in found for one in share], through)


def test_a_spoilt_file_is_refused_or_answers_and_never_hangs(tried: Tried) -> None:
    ends = Counter(outcome.end for _, outcome in tried.files)
    killed = Counter(outcome.how for _, outcome in tried.files if outcome.end == "killed")
    print(f"{len(tried.files)} files: {dict(ends)}; killed by {dict(killed)}")
    assert ends["refused"]
    assert ends["answers"]
    assert not [outcome for _, outcome in tried.files if outcome.end in {"hangs", "breaks out"}]


def test_spoilt_files_cost_the_supervisor_nothing(tried: Tried, tmp_path: Path) -> None:
    worst_first = sorted(tried.files, key=lambda one: one[1].end != "killed")
    killers = sum(outcome.end == "killed" for _, outcome in tried.files)
    names = [f"spoilt-{number}" for number in range(max(tried.through, killers))]
    for name, (data, _) in zip(names, worst_first, strict=False):
        (tmp_path / f"{name}.gguf").write_bytes(data)
    random_llama(tmp_path / "whole.gguf", SMALL)
    with SupervisorProcess(arguments=("--port", "0", "--models", str(tmp_path))) as supervisor:
        client = supervisor.client()
        assert client.generate("whole", "the a", max_tokens=3).finish.usage.completion_tokens == 3
        before = psutil.Process(supervisor.pid).memory_info().rss
        told = Counter[str]()
        for name in names:
            told[_use(client, name)] += 1
            client.status()
        print(f"{len(names)} files, {killers} of which kill: {dict(told)}")
        assert supervisor.process.poll() is None
        assert client.generate("whole", "the a", max_tokens=3).finish.usage.completion_tokens == 3
        assert "Traceback" not in supervisor.log
        assert psutil.Process(supervisor.pid).memory_info().rss - before < MOST_GROWTH_BYTES


def _use(client: vramd.Client, name: str) -> str:
    """Has a file loaded and asks it something; the reason if that is refused."""
    try:
        client.load(name, context=64, timeout_s=BOUND_S)
        assert len(client.generate(name, "the a", max_tokens=3, timeout_s=BOUND_S).text) >= 0
    except vramd.VramdError as error:
        assert error.code not in {"", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED"}, f"{name}: {error!r}"
        return error.reason
    finally:
        with contextlib.suppress(vramd.VramdError):
            client.unload(name, force=True)
    return "answers"
