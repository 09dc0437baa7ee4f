"""Vectors from a real llama.cpp."""

import math
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_bert, random_llama
from support.llama_engines import Gate, ask, embed, loaded, spec
from vramd_common.reasons import Reason
from vramd_worker.engine import EngineError, Job, Vectors
from vramd_worker.llama import LlamaEngine

pytest.importorskip("llama_cpp")

LAST, RANK = 3, 4


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(random_bert(folder / "bert.gguf"))) as engine:
        yield engine


def vectors(engine: LlamaEngine, *texts: str) -> tuple[tuple[float, ...], ...]:
    answer = embed(engine, texts)
    assert isinstance(answer, Vectors), answer
    return answer.values


def cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_vectors_have_length_one_and_come_in_order(encoder: LlamaEngine) -> None:
    texts = ["the", "a to", "he was in it", "the"]
    together = vectors(encoder, *texts)
    assert [len(vector) for vector in together] == [64] * 4
    assert all(math.isclose(cosine(vector, vector), 1, abs_tol=1e-6) for vector in together)
    for vector, text in zip(together, texts, strict=True):
        assert cosine(vector, vectors(encoder, text)[0]) > 0.9999
    assert cosine(together[0], together[1]) < 0.999


def test_more_texts_than_one_batch_holds(encoder: LlamaEngine) -> None:
    texts = ["the a to", "of in is it you that he was for on are with as the a"] * 80
    answer = embed(encoder, texts)
    assert isinstance(answer, Vectors)
    assert len(answer.values) == 160
    assert answer.prompt_tokens == 80 * (5 + 17)
    assert all(cosine(one, other) > 0.9999 for one, other in pairwise(answer.values[::2]))


def test_no_texts_give_no_vectors(encoder: LlamaEngine) -> None:
    assert embed(encoder, []) == Vectors((), 0)


def test_a_text_longer_than_the_context_is_refused_with_the_numbers(encoder: LlamaEngine) -> None:
    answer = embed(encoder, ["the", "the " * 63])
    assert isinstance(answer, EngineError)
    assert answer.reason is Reason.CONTEXT_OVERFLOW
    assert answer.metadata == {"promptTokens": "65", "contextTokens": "64"}
    assert len(vectors(encoder, "the " * 62)) == 1


def test_a_cancelled_call_is_silent_and_the_next_is_served(encoder: LlamaEngine) -> None:
    heard: list[Vectors | EngineError] = []
    gate = Gate()
    encoder.embed(["the"], gate)
    gate.wait()
    for _ in range(20):
        encoder.embed(["the a to"] * 100, heard.append).cancel()
    gate.open(encoder)
    assert len(vectors(encoder, "the")) == 1
    assert not heard


def test_an_encoder_generates_nothing(encoder: LlamaEngine) -> None:
    error = ask(encoder, Job("the")).error
    assert error is not None
    assert error.reason is Reason.GENERATION_UNSUPPORTED


def test_a_causal_model_that_pools_the_last_token(tmp_path: Path) -> None:
    """Its texts may be longer than a batch: they are computed piece by piece, to the same vector."""
    path = random_llama(tmp_path / "model.gguf", Shape(layers=3), pooling=LAST)
    texts = ["b" * 300, "a", "c" * 40]
    with loaded(spec(path, context_tokens=512, batch_tokens=64)) as engine:
        in_pieces = vectors(engine, *texts)
        assert isinstance(ask(engine, Job("a")).error, EngineError)
    with loaded(spec(path, context_tokens=512, batch_tokens=512)) as engine:
        whole = vectors(engine, *texts)
    assert all(cosine(one, other) > 0.9999 for one, other in zip(in_pieces, whole, strict=True))
    assert cosine(whole[0], whole[1]) < 0.999


def test_a_batch_is_never_longer_than_the_context(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf", pooling=LAST)
    with loaded(spec(path, context_tokens=256, batch_tokens=2048)) as engine:
        assert len(vectors(engine, *["b" * 100] * 20)) == 20


@pytest.mark.parametrize("pooling", [RANK, 77])
def test_a_pooling_that_gives_no_embeddings_is_refused(tmp_path: Path, pooling: int) -> None:
    engine = LlamaEngine(spec(random_bert(tmp_path / "model.gguf", pooling=pooling), parallel=1), threads=1)
    with pytest.raises(EngineError) as caught:
        engine.load(lambda _share: None)
    assert caught.value.reason is Reason.MODEL_UNSUPPORTED


@pytest.mark.skipif(not os.environ.get("VRAMD_TEST_EMBEDDINGS"), reason="VRAMD_TEST_EMBEDDINGS names no folder")
def test_a_pretrained_model_knows_what_is_alike() -> None:
    files = sorted(Path(os.environ["VRAMD_TEST_EMBEDDINGS"]).glob("*.gguf"))
    assert files
    for file in files:
        with loaded(spec(file, context_tokens=512)) as engine:
            mat, rug, market, shares = vectors(
                engine,
                "A cat sits on the mat.",
                "A kitten rests on a rug.",
                "The stock market fell sharply today.",
                "Shares dropped a lot this morning.",
            )
        found = [cosine(mat, rug), cosine(mat, market), cosine(mat, shares), cosine(market, shares)]
        assert found == pytest.approx([0.665, 0.09, 0.045, 0.552], abs=0.01), file.name
