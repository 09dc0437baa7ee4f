"""What a step costs by its size, as measured in this process, and the sizes of steps that follow from it. Pure.

On a CPU a step of two tokens may cost three times as much as one of a single token, and one of 32 as much as one of 64.
Where the steps are is known only by measuring: it depends on model, processor, threads, pages and other programs.
"""

from collections import deque

FIRST_TOKENS = 64
"""Tokens of a step with parts of prompts beside texts, while nothing is measured."""
LEAST_TOKENS = 8
DEAREST = 1.6
"""Most times as much as at best that a token of a prompt may cost so that texts flow."""
WORTH = 0.95
"""A step is split if that takes at most this share of its time."""
FAR_SLOWER = 2.0
"""Times that one text after the other takes as long as all at once where halves of the batch are not tried."""
FRESH_S = 30.0
"""How long a measurement counts: contexts grow, and other programs come and go."""
_SAMPLES = 5
_ENOUGH = 3
"""Samples by which a step is split."""


class StepCosts:
    """Seconds of the last steps, by their size."""

    def __init__(self) -> None:
        self._texts: dict[int, deque[tuple[float, float]]] = {}
        """Of steps that computed a token of so many texts: when, and seconds."""
        self._prompts: dict[int, deque[tuple[float, float]]] = {}
        """Of steps with parts of prompts, by the number of tokens, rounded up to a power of two."""

    def learn(self, tokens: int, seconds: float, now_s: float, *, prompts: bool) -> None:
        """A step of so many tokens has ended; `prompts`: some of them are of prompts."""
        size = _power(tokens) if prompts else tokens
        if prompts and (size < LEAST_TOKENS or 4 * tokens <= 3 * size):
            return  # it tells nothing, or is between two sizes
        samples = (self._prompts if prompts else self._texts).setdefault(size, deque(maxlen=_SAMPLES))
        samples.append((now_s, seconds))

    def step_tokens(self, texts: int, gap_s: float, batch_tokens: int, now_s: float) -> int:
        """Returns the tokens of the next step with parts of prompts beside so many texts.

        It is the largest that leaves texts no longer gap than this, or than they have without prompts. Of those that
        leave a longer one it is the shortest by which a prompt takes no more than `DEAREST` times as long as at best.
        """
        costs = {size: cost for size in self._prompts if (cost := self._cost(self._prompts, size, now_s))}
        if FIRST_TOKENS not in costs:
            return min(FIRST_TOKENS, batch_tokens)
        gap_s = max(gap_s, self._cost(self._texts, texts, now_s) or 0.0)
        of_prompts = {size: max(1, size - texts) for size in costs}
        best = min(cost / of_prompts[size] for size, cost in costs.items())
        cheap = {size: cost for size, cost in costs.items() if cost <= DEAREST * best * of_prompts[size]}
        within = [size for size, cost in cheap.items() if cost <= gap_s]
        if within:
            size = max(within)
            # What is not measured yet is tried where it is expected to be right.
            size *= 2 if 2 * size not in costs and 2 * costs[size] <= gap_s else 1
        else:
            size = min(cheap, key=lambda size: cheap[size])
            size //= 2 if size // 2 not in costs and size > LEAST_TOKENS else 1
        return min(size, batch_tokens)

    def at_once(self, texts: int, now_s: float) -> int:
        """Returns of how many texts the next step computes a token, if so many want one: the others take turns."""
        if texts < 2:
            return texts
        for size in (texts, 1, -(-texts // 2)):
            if not self._is_known(size, now_s):
                return size
            if size == 1 and self._is_far_slower(texts, now_s):
                break
        sizes = {-(-texts // steps): steps for steps in range(texts, 0, -1)}
        costs = {size: steps * cost for size, steps in sizes.items() if (cost := self._cost(self._texts, size, now_s))}
        best = min(costs, key=lambda size: costs[size])
        return best if costs[best] <= WORTH * costs[texts] else texts

    def _is_far_slower(self, texts: int, now_s: float) -> bool:
        """Whether one text after the other takes so much longer than all at once that halves are not worth a try.

        They are not if costs grow evenly. Where a step lies between them and all, halves that would win are missed.
        """
        one, all_of_them = (self._cost(self._texts, size, now_s) for size in (1, texts))
        return one is not None and all_of_them is not None and texts * one >= FAR_SLOWER * all_of_them

    def _is_known(self, texts: int, now_s: float) -> bool:
        samples = self._texts.get(texts, ())
        return sum(now_s - when_s <= FRESH_S for when_s, _ in samples) >= _ENOUGH

    @staticmethod
    def _cost(costs: dict[int, deque[tuple[float, float]]], size: int, now_s: float) -> float | None:
        fresh = [seconds for when_s, seconds in costs.get(size, ()) if now_s - when_s <= FRESH_S]
        # What else runs on the machine only ever adds to it.
        return min(fresh, default=None)


def _power(tokens: int) -> int:
    return 1 << (tokens - 1).bit_length()
