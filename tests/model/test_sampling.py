"""What the chain of samplers leaves of a distribution, with llama.cpp's own samplers and a made-up vocabulary."""

import ctypes
import math
import random
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from vramd_common.sampling import Sampling
from vramd_worker.llama.load import start_engine
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.sampling import CANDIDATES, SamplerChain

VOCABULARY = 3 * CANDIDATES


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return start_engine(untested=False)


def zipf(steepness: float) -> list[float]:
    """Logits of tokens of which the likeliest of rank n has a probability like 1 / n ** steepness, in any order."""
    logits = [-steepness * math.log(rank) for rank in range(1, VOCABULARY + 1)]
    random.Random(7).shuffle(logits)
    return logits


def shares(logits: Sequence[float]) -> list[float]:
    weights = [math.exp(logit) for logit in logits]
    whole = sum(weights)
    return [weight / whole for weight in weights]


def left(library: ModuleType, sampling: Sampling, logits: Sequence[float]) -> dict[int, float]:
    """Runs the chain; returns the probability of each token that is left to be drawn."""
    model = cast(NativeModel, SimpleNamespace(vocabulary_tokens=VOCABULARY))
    chain = SamplerChain(library, model, sampling, [], 64, None)
    candidates = (library.llama_token_data * VOCABULARY)(*((token, logit, 0) for token, logit in enumerate(logits)))
    array = library.llama_token_data_array(candidates, VOCABULARY, -1, False)
    library.llama_sampler_apply(chain._handle, ctypes.byref(array))
    found = {array.data[place].id: array.data[place].p for place in range(array.size)}
    chain.close()
    return found


@pytest.mark.parametrize("steepness", [0.5, 1.0, 2.0], ids=["flat", "like words", "peaked"])
@pytest.mark.parametrize("top_p", [0.5, 0.95, 0.999])
def test_top_p_without_top_k_looks_at_the_likeliest(library: ModuleType, steepness: float, top_p: float) -> None:
    logits = zipf(steepness)
    exact = shares(logits)
    order = sorted(range(VOCABULARY), key=lambda token: -exact[token])
    kept, mass = [], 0.0
    for token in order:
        kept.append(token)
        mass += exact[token]
        if mass >= top_p:
            break
    found = left(library, Sampling(temperature=1, top_k=0, top_p=top_p, min_p=0, seed=1), logits)
    assert len(found) <= CANDIDATES
    wanted = {token: exact[token] / mass for token in kept}
    variation = sum(abs(found.get(token, 0) - wanted.get(token, 0)) for token in found.keys() | wanted.keys()) / 2
    beyond = sum(exact[token] for token in order[CANDIDATES:])
    assert variation <= beyond + exact[kept[-1]] / top_p + 1e-4


def test_without_top_p_all_tokens_are_left(library: ModuleType) -> None:
    assert len(left(library, Sampling(temperature=1, top_k=0, top_p=1, min_p=0, seed=1), zipf(1.0))) == VOCABULARY


def test_a_given_top_k_stays_as_given(library: ModuleType) -> None:
    sampling = Sampling(temperature=1, top_k=CANDIDATES + 9, top_p=0.9999, min_p=0, seed=1)
    assert len(left(library, sampling, zipf(0.5))) > CANDIDATES
