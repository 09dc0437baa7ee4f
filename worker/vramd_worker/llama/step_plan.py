"""Who computes how many tokens in the next step. Pure: numbers in, numbers out.

1. Each text that is being generated computes one token; without prompts they take turns where that is faster.
2. Beside them, running or paced, prompts share a budget of tokens, so that texts flow on; alone they share the batch.
3. The prompt that came first has at least half of what prompts share, the shortest the rest: one that is short is soon
   done, and a long one goes on however many short ones come.
4. A chunk that is computed again has its size of the first time. Where it does not fit beside the others, it and they
   take turns.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a text computes next."""

    TOKEN = 1
    """The one token that was sampled last."""
    PROMPT = 2
    """A part of its prompt, of any size."""
    AGAIN = 3
    """A chunk that was computed before, whole."""


class Want(NamedTuple):
    """What a text needs of the next step."""

    kind: Kind
    tokens: int
    """Tokens that it could compute at once."""
    passed_over: int = 0
    """Steps in a row in which it was due and computed nothing."""


def shares(wants: Sequence[Want], batch_tokens: int, prompt_tokens: int, at_once: int | None = None) -> list[int]:
    """Returns the tokens that each computes, in the same order, which is the order in which they came.

    `prompt_tokens` is the most of prompts beside a text that is being generated; the whole batch if there is none.
    `at_once` is the number of texts that compute a token if there is no prompt; None: all.
    """
    given = [0] * len(wants)
    texts = [place for place, want in enumerate(wants) if want.kind is Kind.TOKEN]
    again = [place for place, want in enumerate(wants) if want.kind is Kind.AGAIN]
    room = batch_tokens - len(texts)
    large = next((place for place in again if wants[place].tokens > room), None)
    if large is not None and not any(wants[place].passed_over for place in texts):
        given[large] = wants[large].tokens
        return given
    alone = len(texts) == len(wants)
    for place in sorted(texts, key=lambda place: -wants[place].passed_over)[: at_once if alone else None]:
        given[place] = 1
    left = most = min(room, prompt_tokens)
    for place in again:
        tokens = wants[place].tokens
        # One that is larger than the budget cannot be made smaller.
        if tokens <= left or (left == most and tokens <= room):
            given[place] = tokens
            left = max(0, left - tokens)
    prompts = [place for place, want in enumerate(wants) if want.kind is Kind.PROMPT]
    for place in prompts[:1]:
        given[place] = min(wants[place].tokens, (left + 1) // 2)
        left -= given[place]
    for place in sorted(prompts, key=lambda place: wants[place].tokens):
        more = min(wants[place].tokens - given[place], left)
        given[place] += more
        left -= more
    return given
