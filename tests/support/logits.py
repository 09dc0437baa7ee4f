"""A model of llama.cpp beside vramd, to see how near to each other its choices are."""

from collections.abc import Sequence
from pathlib import Path

import llama_cpp

LEAST_GAP = 0.05
"""Two logits that are nearer to each other than this may change places when sums are rounded in another order."""


class Logits:
    """Computes token by token."""

    def __init__(self, path: Path) -> None:
        self._model = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=1, logits_all=True, verbose=False)

    def gap(self, tokens: Sequence[int]) -> float:
        """How far the two best logits behind these tokens are apart."""
        self._model.n_tokens = 0
        for token in tokens:
            self._model.eval([token])
        *_, second, first = sorted(self._model.scores[len(tokens) - 1])
        return float(first - second)
