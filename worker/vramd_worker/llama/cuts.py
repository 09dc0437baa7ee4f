"""Into which chunks a sequence was cut when it was computed, so that it can be computed again with the same sums.

Pure. The sum of a matrix product is rounded by the number of tokens that are computed together, so a text that goes on
exactly needs its prompt in the chunks of the first time. They depend on what else ran, and on prefixes that were there
already.
"""

from collections.abc import Iterable, Iterator, Sequence

from vramd_common.reasons import Reason

from vramd_worker.engine import Cut, EngineError


class Cuts:
    """The chunks of one sequence, from its first token on."""

    def __init__(self, runs: Iterable[Cut] = ()) -> None:
        self._runs = list(runs)
        self.tokens = sum(run.tokens * run.times for run in self._runs)
        """Tokens that the chunks hold."""

    def __iter__(self) -> Iterator[Cut]:
        return iter(self._runs)

    @property
    def chunks(self) -> int:
        """Number of chunks: as many steps does it take to compute the sequence again."""
        return sum(run.times for run in self._runs)

    def add(self, run: Cut) -> None:
        """The next tokens were computed in these chunks."""
        if self._runs and self._runs[-1][:2] == run[:2]:
            self._runs[-1] = run._replace(times=self._runs[-1].times + run.times)
        else:
            self._runs.append(run)
        self.tokens += run.tokens * run.times

    def at(self, position: int) -> Cut:
        """Returns the chunk that begins at this token. Raises ValueError where none begins."""
        start = 0
        for run in self._runs:
            within = position - start
            if within < run.tokens * run.times:
                if within < 0 or within % run.tokens:
                    break
                return run._replace(times=1)
            start += run.tokens * run.times
        raise ValueError(f"no chunk begins at token {position}")

    def first(self, tokens: int) -> "Cuts":
        """Returns the chunks of the first tokens. The last may be a part of one that was computed whole."""
        cuts = Cuts()
        for run in self._runs:
            whole, part = divmod(min(run.tokens * run.times, tokens - cuts.tokens), run.tokens)
            if whole:
                cuts.add(run._replace(times=whole))
            if part:
                cuts.add(Cut(part, run.computed))
            if cuts.tokens == tokens:
                break
        return cuts

    def boundary(self, tokens: int) -> int:
        """Returns where the last chunk begins, or the last one has ended, that is not behind this many tokens."""
        start = 0
        for run in self._runs:
            if start + run.tokens * run.times > tokens:
                return start + (tokens - start) // run.tokens * run.tokens
            start += run.tokens * run.times
        return start

    def in_common(self, other: "Cuts") -> int:
        """Returns how many tokens at the beginning were cut in the same way."""
        same = 0
        for (tokens, computed), (other_tokens, other_computed) in zip(self._each(), other._each(), strict=False):
            if computed != other_computed:
                return same
            same += min(tokens, other_tokens)
            if tokens != other_tokens:
                return same
        return same

    def _each(self) -> Iterator[tuple[int, int]]:
        for run in self._runs:
            for _ in range(run.times):
                yield run.tokens, run.computed


def check_cuts(cuts: Sequence[Cut], prompt_tokens: int, batch_tokens: int) -> None:
    """Raises EngineError for cuts, if there are any, that are not those of this prompt and such batches."""
    fits = all(0 < cut.tokens <= cut.computed <= batch_tokens for cut in cuts)
    if cuts and not (fits and Cuts(cuts).tokens == prompt_tokens):
        text = f"the prompt has {prompt_tokens} tokens and a batch {batch_tokens}: it was cut in another way"
        raise EngineError(Reason.FIELD_INVALID, text, field="resume_cuts")
