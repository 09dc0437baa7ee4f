"""Conversations leave nothing behind in the supervisor and the worker, however many messages they have."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llama_cpp")

import vramd
from support.gguf_models import Shape, random_llama
from support.insight import Insight, Leaks, is_possible
from support.supervisor_process import SupervisorProcess, until

pytestmark = pytest.mark.skipif(not is_possible(), reason="needs glibc to tell what is in use")

MESSAGES = 100
SAMPLES = 4
"""Of each round, at rest."""
AT_ONCE = 4
WARM_UP = 0.2
"""Share of the messages during which pools and buffers may fill, the first conversations at least."""
MOST_BYTES = {100: 50, 20: 150}
"""Per message, by the number of conversations: gRPC takes and returns 50 KB as it likes, which few messages share."""
LEAK_BYTES = 1000
TINY = Shape(embedding=32, layers=1, heads=2, kv_heads=1, feed_forward=32, context=4096)
WORDS = tuple(f"w{number}" for number in range(50))
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@contextmanager
def talker(folder: Path, insight: Insight) -> Iterator[SupervisorProcess]:
    model = random_llama(folder / "talker.gguf", TINY, words=WORDS, chat_template=TEMPLATE)
    configuration = f'[models.talker]\npath = "{model.as_posix()}"\ncontext = 4096\nparallel = {AT_ONCE}\n'
    with SupervisorProcess(configuration, environment=insight.environment) as supervisor:
        yield supervisor


class Conversation:
    """Each message is sent with all that came before it."""

    def __init__(self, client: vramd.Client) -> None:
        self._client = client
        self._said: list[tuple[str, str]] = []

    def go_on(self, messages: int) -> None:
        for _ in range(messages):
            self._said.append(("user", WORDS[len(self._said) % len(WORDS)]))
            stream = self._client.chat("talker", self._said, max_tokens=2, temperature=0)
            assert stream.finish is not None
            self._said.append(("assistant", "w1"))


def bytes_in_use(supervisor: SupervisorProcess, insight: Insight, conversations: int) -> Sequence[tuple[int, int, int]]:
    """Messages so far, bytes in use in the supervisor, and in the worker."""
    clients = [supervisor.client() for _ in range(AT_ONCE)]
    worker = clients[0].load("talker").pid
    assert worker is not None
    seen = []
    for begun in range(0, conversations * MESSAGES, AT_ONCE * MESSAGES):
        talks = [Conversation(client) for client in clients]
        for sample in range(1, SAMPLES + 1):
            threads = [threading.Thread(target=talk.go_on, args=(MESSAGES // SAMPLES,)) for talk in talks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            until("nothing runs", lambda: not any(model.in_flight for model in clients[0].resident()))
            messages = begun + sample * AT_ONCE * MESSAGES // SAMPLES
            seen.append((messages, insight.bytes_in_use(supervisor.pid), insight.bytes_in_use(worker)))
    return seen


def bytes_per_message(seen: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """The slopes of least squares."""
    print("\n".join(map(str, seen)))
    settled = np.array(seen[max(SAMPLES, int(len(seen) * WARM_UP)) :], dtype=np.float64)
    return {
        role: float(np.polyfit(settled[:, 0], settled[:, column], 1)[0])
        for column, role in ((1, "supervisor"), (2, "worker"))
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("conversations", [20, pytest.param(100, marks=pytest.mark.long)])
def test_messages_leave_nothing_behind(conversations: int, tmp_path: Path) -> None:
    with Insight() as insight, talker(tmp_path, insight) as supervisor:
        slopes = bytes_per_message(bytes_in_use(supervisor, insight, conversations))
    assert max(slopes.values()) <= MOST_BYTES[conversations], slopes


@pytest.mark.timeout(600)
def test_a_kilobyte_per_message_is_seen(tmp_path: Path) -> None:
    with (
        Insight(Leaks(dict.fromkeys(("supervisor", "worker"), LEAK_BYTES))) as insight,
        talker(tmp_path, insight) as supervisor,
    ):
        slopes = bytes_per_message(bytes_in_use(supervisor, insight, 2 * AT_ONCE))
    assert min(slopes.values()) > MOST_BYTES[20], slopes
