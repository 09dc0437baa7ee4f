"""Whether what a model computed are numbers, before a token is chosen by them. Used by the decode thread only.

A state that is no number makes every logit none: so a few of them tell. A weight that is none spoils its own token's
logit in every batch: such tokens are found once, with the warm-up, and can never be chosen.
"""

import math
from types import ModuleType
from typing import Any

_LOWEST = -3.4028234663852886e38
"""A logit that nothing is drawn by: the least that a float holds."""


class Logits:
    """Looks at the results of one context."""

    def __init__(self, library: ModuleType, handle: int, vocabulary_tokens: int) -> None:
        self._library = library
        self._handle = handle
        self._tokens = vocabulary_tokens
        self._looked_at = tuple({0, vocabulary_tokens // 2, vocabulary_tokens - 1})
        """Tokens whose logits stand for all."""
        self._mute: tuple[int, ...] = ()
        """Tokens whose logits are never numbers."""

    def learn(self, index: int) -> None:
        """Finds the tokens that have no logit in a batch of which the others have."""
        logits = self._at(index)[: self._tokens]
        finite = [token for token, logit in enumerate(logits) if math.isfinite(logit)]
        if finite:
            self._looked_at = tuple({finite[0], finite[len(finite) // 2], finite[-1]})
        if 0 < len(finite) < self._tokens:
            self._mute = tuple(sorted(set(range(self._tokens)).difference(finite)))

    def are_numbers(self, index: int) -> bool:
        """Whether a token can be chosen by the logits at this index of the last batch."""
        logits = self._at(index)
        for token in self._mute:
            logits[token] = _LOWEST
        return all(math.isfinite(logits[token]) for token in self._looked_at)

    def is_number(self, index: int, token: int) -> bool:
        """Whether the logit of a token that was chosen is one."""
        return 0 <= token < self._tokens and math.isfinite(self._at(index)[token])

    def _at(self, index: int) -> Any:
        return self._library.llama_get_logits_ith(self._handle, index)
