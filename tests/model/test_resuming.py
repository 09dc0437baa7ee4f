"""A stream of llama.cpp survives its worker: behind a kill comes what comes without one, to the last byte."""

import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import vramd
from support.gguf_models import Shape, random_llama
from support.supervisor_process import SupervisorProcess, until

pytest.importorskip("llama_cpp")

from support.logits import LEAST_GAP, Logits

TOKENS = 60
PROMPTS = (
    "Good morning!",
    "What do you think about rain?",
    "Tell me about your favourite game.",
    "Can you recommend a book?",
    "Do you like music? I have listened to the radio all day, and there was one song that I cannot forget.",
)
STREAMS = pytest.mark.parametrize(
    "streams", [4, pytest.param(100, marks=(pytest.mark.long, pytest.mark.timeout(3600)))]
)


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf", Shape(embedding=256, layers=4, feed_forward=512))


@pytest.fixture(scope="module")
def client(path: Path) -> Iterator[vramd.Client]:
    # The number of more threads follows what else runs on the machine, and is part of how sums are rounded.
    model = f'[models.rambler]\npath = "{path}"\ncontext = 2048\nparallel = 4\nthreads = 1\n'
    configuration = f"[server]\nstrikes = 0\n{model}"
    with SupervisorProcess(configuration) as supervisor:
        yield supervisor.client()


def kill(client: vramd.Client) -> None:
    """Returns when the end of the process was noticed: a call that comes before would lose a process too."""
    (resident,) = client.resident()
    assert resident.pid
    psutil.Process(resident.pid).kill()
    until("its end is noticed", lambda: all(one.pid != resident.pid for one in client.resident()))


def load_anew(client: vramd.Client) -> None:
    """Loads into an empty memory: what was said before has its part in how sums are rounded."""
    client.load("rambler")  # it may be starting again behind the last kill, and has no process then
    kill(client)
    client.load("rambler")


def read(stream: vramd.Stream, tokens: int) -> None:
    """Reads until so many tokens have come."""
    while len(stream.token_ids) < tokens:
        next(stream)


@STREAMS
@pytest.mark.parametrize(
    "how",
    [
        {"temperature": 0.0},
        {"temperature": 0.8},
    ],
    ids=["greedy", "sampled"],
)
def test_a_stream_alone_on_its_worker_is_the_same_to_the_last_byte(
    client: vramd.Client, how: vramd.AnswerSettings, streams: int
) -> None:
    dice = random.Random(f"{how} {streams}")
    for number in range(streams):
        load_anew(client)
        prompt, seed, tokens = dice.choice(PROMPTS), dice.randrange(1 << 32), dice.randrange(TOKENS)
        settings: vramd.AnswerSettings = {**how, "seed": seed, "max_tokens": TOKENS}
        undisturbed = client.chat("rambler", prompt, **settings)
        assert undisturbed.text
        load_anew(client)
        stream = client.chat("rambler", prompt, **settings)
        read(stream, min(tokens, len(undisturbed.token_ids) - 1))
        before = len(stream.token_ids)
        kill(client)
        told = f"stream {number} ({prompt!r}, seed {seed}), killed after {before} tokens"
        assert stream.text == undisturbed.text, told
        assert stream.token_ids == undisturbed.token_ids, told
        assert stream.finish.reason == undisturbed.finish.reason, told
        assert stream.finish.usage.completion_tokens == undisturbed.finish.usage.completion_tokens, told
        assert stream.timeline
        if stream.timeline.resumes:  # a kill may come when all has been computed
            assert (stream.timeline.resumes, stream.timeline.resume) == (1, "exact"), told


def test_the_second_turn_of_a_conversation_goes_on_exactly(client: vramd.Client) -> None:
    """What it found in the memory was computed in other chunks than a prompt as long as it."""
    load_anew(client)
    turns = [("user", PROMPTS[4] * 6)]
    first = client.chat("rambler", turns, temperature=0, max_tokens=TOKENS)
    turns += [("assistant", first.text), ("user", PROMPTS[1])]
    undisturbed = client.chat("rambler", turns, temperature=0, max_tokens=TOKENS)
    assert undisturbed.text
    load_anew(client)
    assert client.chat("rambler", turns[:1], temperature=0, max_tokens=TOKENS).text == first.text
    stream = client.chat("rambler", turns, temperature=0, max_tokens=TOKENS, max_tokens_per_s=10)
    read(stream, TOKENS // 6)
    kill(client)
    assert stream.text == undisturbed.text
    assert stream.token_ids == undisturbed.token_ids
    assert stream.finish.usage.cached_prompt_tokens == 0, "the next process had nothing of it"
    assert undisturbed.finish.usage.cached_prompt_tokens > 200
    assert stream.timeline
    assert (stream.timeline.resumes, stream.timeline.resume) == (1, "exact")


def test_a_text_without_a_seed_goes_on_too(client: vramd.Client) -> None:
    stream = client.generate("rambler", PROMPTS[0], temperature=1.5, max_tokens=400, max_tokens_per_s=70)
    read(stream, 10)
    kill(client)
    read(stream, 30)
    kill(client)
    timeline = stream.timeline
    assert timeline
    assert (timeline.resumes, timeline.resume) == (2, "exact")
    assert len(stream.token_ids) == stream.finish.usage.completion_tokens


def test_behind_more_tokens_than_are_computed_one_by_one_it_says_so(client: vramd.Client) -> None:
    stream = client.generate("rambler", PROMPTS[0], temperature=1.0, max_tokens=1000, max_tokens_per_s=130, seed=1)
    read(stream, 300)
    kill(client)
    assert stream.finish.usage.completion_tokens == 1000
    assert stream.timeline
    assert (stream.timeline.resumes, stream.timeline.resume) == (1, "approximate")
    (record,) = [one for one in client.decisions("rambler", limit=1) if one.kind == "resume"]
    assert "approximately" in record.message


@STREAMS
def test_several_streams_on_a_worker_differ_only_where_two_tokens_are_nearly_as_likely(
    client: vramd.Client, path: Path, streams: int
) -> None:
    dice = random.Random(streams)
    client.load("rambler")
    model = Logits(path)
    differing = 0
    for _ in range(0, streams, 4):
        prompts = [f"{dice.choice(PROMPTS)} {dice.randrange(1000)}" for _ in range(4)]
        undisturbed = [
            tokens_of(client.generate("rambler", prompt, temperature=0, max_tokens=TOKENS)) for prompt in prompts
        ]
        running = [client.generate("rambler", prompt, temperature=0, max_tokens=TOKENS) for prompt in prompts]
        read(running[0], dice.randrange(1, TOKENS // 2))
        kill(client)
        for prompt, stream, expected in zip(prompts, running, undisturbed, strict=True):
            given = tokens_of(stream)
            if given == expected:
                continue
            differing += 1
            same = next(place for place, (one, other) in enumerate(zip(given, expected, strict=False)) if one != other)
            read_before = client.tokenize("rambler", prompt, add_special=True, parse_special=True)
            gap = model.gap([*read_before, *expected[:same]])
            print(f"{prompt!r} differs at token {same}, where the two best logits are {gap:.4f} apart")
            assert gap < LEAST_GAP
    print(f"{differing} of {streams} differ")


def tokens_of(stream: vramd.Stream) -> tuple[int, ...]:
    assert stream.finish.reason == "LENGTH"
    return stream.token_ids
