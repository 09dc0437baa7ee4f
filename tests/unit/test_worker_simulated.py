"""The simulated engine in this process: what it says, how fast, and where it ends."""

import queue
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling
from vramd_supervisor.domain.config import SIMULATED_FAULTS
from vramd_worker.engine import Engine, EngineError, FinishReason, Job, Message, Piece, Vectors
from vramd_worker.simulated import Fault, SimulatedEngine, SimulatedSpec, words

BOUND_S = 10.0


def loaded(
    *, tokens_per_s: float = 0, context_tokens: int = 1000, parallel: int = 4, faults: frozenset[Fault] = frozenset()
) -> Engine:
    engine = SimulatedEngine(SimulatedSpec(0, 0.0, tokens_per_s, faults, context_tokens, parallel))
    engine.load(lambda _share: None)
    return engine


def answer(engine: Engine, job: Job) -> list[Piece]:
    """All pieces of a job. Raises what the engine emits."""
    emitted: queue.Queue[Piece | EngineError] = queue.Queue()
    engine.generate(job, emitted.put)
    pieces: list[Piece] = []
    while not pieces or pieces[-1].finish is None:
        piece = emitted.get(timeout=BOUND_S)
        if isinstance(piece, EngineError):
            raise piece
        pieces.append(piece)
    return pieces


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def ids(pieces: list[Piece]) -> tuple[int, ...]:
    return tuple(token for piece in pieces for token in piece.token_ids)


def test_the_supervisor_knows_the_same_faults() -> None:
    assert {fault.value for fault in Fault} == set(SIMULATED_FAULTS)


def test_the_same_seed_gives_the_same_words_and_another_seed_others() -> None:
    engine = loaded()
    first, again, other = (
        text(answer(engine, Job(prompt, Sampling(seed=seed)))) for prompt, seed in (("a", 1), ("b", 1), ("a", 2))
    )
    assert first == again != other


def test_an_answer_ends_by_itself_after_64_tokens() -> None:
    pieces = answer(loaded(), Job("a b c"))
    assert len(ids(pieces)) == 64
    finish = pieces[-1].finish
    assert finish is not None
    assert (finish.reason, finish.prompt_tokens, finish.completion_tokens) == (FinishReason.STOP, 3, 64)


@pytest.mark.parametrize(("max_tokens", "context_tokens", "expected"), [(1, 1000, 1), (100, 1000, 100), (100, 13, 10)])
def test_length_ends_an_answer(max_tokens: int, context_tokens: int, expected: int) -> None:
    pieces = answer(loaded(context_tokens=context_tokens), Job("a b c", max_tokens=max_tokens))
    assert len(ids(pieces)) == expected
    assert pieces[-1].finish is not None
    assert pieces[-1].finish.reason is FinishReason.LENGTH


def test_tokens_come_one_by_one_and_are_the_text() -> None:
    engine = loaded()
    pieces = answer(engine, Job("a", max_tokens=40))
    assert [len(piece.token_ids) for piece in pieces] == [1] * 40
    told: list[bytes | EngineError] = []
    engine.detokenize(ids(pieces), told.append)
    assert told == [text(pieces).encode()]


def test_an_answer_ends_before_a_stop_string() -> None:
    engine = loaded()
    whole = text(answer(engine, Job("a", Sampling(seed=3))))
    stop = whole[30:40]
    pieces = answer(engine, Job("a", Sampling(seed=3), stop=("never said", stop)))
    assert text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish is not None
    assert pieces[-1].finish.reason is FinishReason.STOP


@pytest.mark.parametrize("prompt", ["a b c d", (Message("user", "a b"), Message("user", "c d"))])
def test_a_prompt_that_fills_the_context_is_refused(prompt: str | tuple[Message, ...]) -> None:
    with pytest.raises(EngineError) as refused:
        answer(loaded(context_tokens=4), Job(prompt))
    assert refused.value.reason is Reason.CONTEXT_OVERFLOW
    assert refused.value.metadata == {"promptTokens": "4", "contextTokens": "4"}


@pytest.mark.parametrize(("model", "asked"), [(200.0, None), (0.0, 200.0), (100_000.0, 200.0), (200.0, 100_000.0)])
def test_the_slower_pace_counts(model: float, asked: float | None) -> None:
    began_s = time.monotonic()
    pieces = answer(loaded(tokens_per_s=model), Job("a", max_tokens=21, max_tokens_per_s=asked))
    finish = pieces[-1].finish
    assert finish is not None
    # The first token may come late by what the machine does meanwhile, and the others all the sooner after it.
    assert finish.prompt_s + finish.generation_s >= 21 / 200 * 0.99
    assert finish.prompt_s >= 1 / 200 * 0.99
    assert time.monotonic() - began_s >= finish.prompt_s + finish.generation_s


def test_sequences_run_side_by_side_up_to_the_limit() -> None:
    engine = loaded(tokens_per_s=100, parallel=2)
    order: queue.Queue[tuple[str, Piece | EngineError]] = queue.Queue()
    here = threading.Event()

    def wait_for_all(_: object) -> None:
        assert here.wait(BOUND_S)

    engine.generate(Job("before", max_tokens=1), wait_for_all)
    for name in ("a", "b", "c"):
        engine.generate(Job(name, max_tokens=5), lambda piece, name=name: order.put((name, piece)))  # type: ignore[misc]
    here.set()  # none has begun before all are there
    came = [order.get(timeout=BOUND_S)[0] for _ in range(15)]
    assert set(came[:9]) == {"a", "b"}
    assert came[-4:] == ["c"] * 4


def test_a_cancelled_job_makes_room_and_says_no_more() -> None:
    engine = loaded(tokens_per_s=1000, parallel=1)
    emitted: queue.Queue[Piece | EngineError] = queue.Queue()
    running = engine.generate(Job("a", max_tokens=100_000), emitted.put)
    waiting = engine.generate(Job("a"), emitted.put)
    emitted.get(timeout=BOUND_S)
    waiting.cancel()
    running.cancel()
    running.cancel()
    assert len(ids(answer(engine, Job("a", max_tokens=3)))) == 3
    while not emitted.empty():
        piece = emitted.get()
        assert isinstance(piece, Piece)
        assert piece.finish is None


def test_embeddings_are_the_same_for_the_same_text_and_of_length_one() -> None:
    done: queue.Queue[Vectors | EngineError] = queue.Queue()
    loaded().embed(["a b", "c", "a b"], done.put)
    vectors = done.get(timeout=BOUND_S)
    assert isinstance(vectors, Vectors)
    assert vectors.prompt_tokens == 5
    first, other, again = vectors.values
    assert first == again != other
    assert [sum(value * value for value in one) for one in vectors.values] == pytest.approx([1, 1, 1])


def test_a_text_longer_than_the_context_has_no_embedding() -> None:
    done: queue.Queue[Vectors | EngineError] = queue.Queue()
    loaded(context_tokens=2).embed(["a b", "a b c"], done.put)
    refused = done.get(timeout=BOUND_S)
    assert isinstance(refused, EngineError)
    assert refused.metadata == {"promptTokens": "3", "contextTokens": "2"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives_its_tokens(said: str) -> None:
    assert words.detokenize(words.tokenize(said)).decode() == said


@pytest.mark.parametrize("token", [-1, 256 + len(words.WORDS), 2**31 - 1])
def test_an_id_that_is_no_token_is_refused(token: int) -> None:
    with pytest.raises(EngineError) as refused:
        words.detokenize([97, token])
    assert (refused.value.reason, refused.value.metadata) == (Reason.FIELD_INVALID, {"field": "token_ids"})


def test_a_load_takes_its_seconds_and_tells_its_progress() -> None:
    shares: list[float] = []
    began_s = time.monotonic()
    SimulatedEngine(SimulatedSpec(0, 0.05, 0, frozenset(), 10, 1)).load(shares.append)
    assert time.monotonic() - began_s >= 0.05
    assert shares == sorted(shares)
    assert shares[-1] == 1
