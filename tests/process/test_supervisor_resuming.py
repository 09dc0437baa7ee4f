"""A request survives its worker: it goes on in another process, exactly where it was."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import psutil
import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

TOKENS = 40
CONFIGURATION = "\n".join(
    (
        "[server]\nstrikes = 0\n[scheduling]\ndrain_s = 0.1\nstop_s = 0.3",
        simulated("talker", card="", tokens_per_s=40),
        simulated("quick", card="", tokens_per_s=500),
        simulated("slow", card="", tokens_per_s=40, load_s=1.0),
        simulated("slower", card="", tokens_per_s=40, load_s=4.0),
        simulated("lamb", card="", tokens_per_s=40, expendable=True),
    )
)


def kill(client: vramd.Client, model: str) -> None:
    pid = client.load(model).pid
    assert pid is not None
    psutil.Process(pid).kill()


def force(client: vramd.Client, model: str) -> None:
    client.unload(model, force=True)


def drain(client: vramd.Client, model: str) -> None:
    client.unload(model)


def restart(client: vramd.Client, model: str) -> None:
    client.restart(model, force=True)


def went_on(client: vramd.Client, model: str) -> list[vramd.Decision]:
    return [one for one in client.decisions(model) if one.kind == "resume"]


@pytest.mark.parametrize("end", [kill, force, drain, restart])
def test_a_stream_goes_on_where_it_was_when_its_process_ends(
    client: vramd.Client, end: Callable[[vramd.Client, str], None]
) -> None:
    tokens = 120
    undisturbed = client.generate("quick", "x", max_tokens=tokens)
    assert undisturbed.text
    before = len(went_on(client, "quick"))
    # It is on its way for 6 s, so that it has not ended before its process does.
    stream = client.generate("quick", "x", max_tokens=tokens, max_tokens_per_s=20)
    assert len(list(islice(stream, 5))) == 5
    end(client, "quick")
    assert stream.text == undisturbed.text
    assert stream.token_ids == undisturbed.token_ids
    assert stream.finish.usage.completion_tokens == tokens
    assert stream.timeline is not None
    assert (stream.timeline.resumes, stream.timeline.resume) == (1, "exact")
    records = went_on(client, "quick")[: -before or None]
    assert [one.numbers["resumes"] for one in records] == [1.0]
    assert records[0].numbers["sent_tokens"] >= 5


@pytest.mark.parametrize("stop", ["pebble", "🌊 ", "é"])
def test_stop_strings_and_what_is_held_back_for_them_are_as_without_the_pause(client: vramd.Client, stop: str) -> None:
    settings: vramd.AnswerSettings = {"max_tokens": 30, "stop": [stop, "never to come"], "seed": 3}
    undisturbed = client.generate("talker", "x", **settings)
    assert undisturbed.text
    for tokens in range(1, len(undisturbed.token_ids), 12):
        stream = client.generate("talker", "x", **settings)
        while len(stream.token_ids) < tokens:
            next(stream)
        kill(client, "talker")
        assert (stream.text, stream.finish.reason) == (undisturbed.text, undisturbed.finish.reason)


def test_all_streams_of_a_process_go_on(client: vramd.Client) -> None:
    prompts = ("a", "b", "c")
    texts = [client.chat("talker", prompt, max_tokens=TOKENS).text for prompt in prompts]
    streams = [client.chat("talker", prompt, max_tokens=TOKENS) for prompt in prompts]
    for stream in streams:
        next(stream)
    kill(client, "talker")
    assert [stream.text for stream in streams] == texts


def test_a_second_death_is_survived_and_a_third_is_the_end(client: vramd.Client) -> None:
    killed: list[int] = []

    def runs_it() -> int | None:
        """Pid of the process that the stream is in; it is not one of those that are dead."""
        busy = (one.pid for one in client.resident() if one.model == "talker" and one.in_flight)
        return next((pid for pid in busy if pid and pid not in killed), None)

    stream = client.generate("talker", "x", max_tokens=500)
    for _ in range(3):
        assert next(stream)
        killed.append(until("another process runs it", runs_it))
        psutil.Process(killed[-1]).kill()
    with pytest.raises(vramd.WorkerCrashed) as failed:
        list(stream)
    assert failed.value.metadata["tokensSent"] == str(len(stream.token_ids))
    assert failed.value.retry_after_s is None


def test_an_expendable_model_ends_its_streams(client: vramd.Client) -> None:
    stream = client.generate("lamb", "x", max_tokens=500)
    next(stream)
    kill(client, "lamb")
    with pytest.raises(vramd.WorkerCrashed):
        list(stream)


def test_what_is_waited_for_in_the_pause_is_told(client: vramd.Client) -> None:
    told: list[vramd.Waiting] = []
    stream = client.generate("slow", "x", max_tokens=2000, on_waiting=told.append)
    next(stream)
    told.clear()
    kill(client, "slow")
    assert any(told for _ in stream), "and the answer goes on"
    stream.cancel()
    assert "LOADING" in {one.state for one in told}


def test_a_caller_that_leaves_in_the_pause_takes_its_request_along(shared: SupervisorProcess) -> None:
    client = shared.client()
    stream = client.generate("slow", "x", max_tokens=2000)
    next(stream)
    with shared.news() as story:
        kill(client, "slow")
        story.reached("slow", "LOADING")
        stream.cancel()
        story.reached("slow", "READY")
        until("it is gone", lambda: [one.in_flight for one in client.resident() if one.model == "slow"] == [0])
    assert client.generate("slow", "x", max_tokens=2).text


def test_a_deadline_counts_on_in_the_pause(client: vramd.Client) -> None:
    client.load("slower")
    stream = client.generate("slower", "x", max_tokens=500, timeout_s=3.0)
    next(stream)
    kill(client, "slower")
    with pytest.raises(vramd.DeadlinePassed):
        list(stream)


def test_a_call_without_a_stream_runs_again(client: vramd.Client) -> None:
    before = len(went_on(client, "talker"))
    process = psutil.Process(client.load("talker").pid)
    process.suspend()
    with ThreadPoolExecutor() as pool:
        vectors = pool.submit(client.embed, "talker", "y")
        until("it runs", lambda: [one.in_flight for one in client.resident() if one.model == "talker"] == [1])
        process.kill()
        assert vectors.result().dimensions == 8
    assert len(went_on(client, "talker")) == before + 1
