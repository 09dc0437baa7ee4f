"""A model of llama.cpp beside vramd, to see how near to each other its choices are."""

from collections.abc import Sequence
from pathlib import Path

import llama_cpp
from support.llama_engines import tokenize
from vramd_worker.llama import LlamaEngine

LEAST_GAP = 0.05
"""Two logits that are nearer to each other than this may change places when sums are rounded in another order."""


class Logits:
    """Computes token by token. It knows of no other text: what company, cuts or a full memory round is not in it."""

    def __init__(self, path: Path) -> None:
        self._model = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=1, logits_all=True, verbose=False)

    def gap(self, tokens: Sequence[int]) -> float:
        """How far the two best logits behind these tokens are apart."""
        self._model.n_tokens = 0
        for token in tokens:
            self._model.eval([token])
        *_, second, first = sorted(self._model.scores[len(tokens) - 1])
        return float(first - second)

    def same_or_nearly(self, engine: LlamaEngine, prompt: str, given: Sequence[int], expected: Sequence[int]) -> None:
        """Fails where an answer differs from another one although its next token is clearly the likeliest."""
        if given == expected:
            return
        same = next(place for place, (one, other) in enumerate(zip(given, expected, strict=False)) if one != other)
        read_before = tokenize(engine, prompt, add_special=True, parse_special=True)
        gap = self.gap([*read_before, *expected[:same]])
        assert gap < LEAST_GAP, f"{prompt!r} differs at token {same}, where two are {gap:.4f} apart"
