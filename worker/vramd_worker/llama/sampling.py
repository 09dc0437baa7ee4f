"""Chooses the next token of a sequence by a chain of llama.cpp's samplers."""

import ctypes
import secrets
from collections.abc import Sequence
from types import ModuleType

from vramd_common.sampling import Sampling

from vramd_worker.llama.context import NativeContext
from vramd_worker.llama.model import NativeModel

LEAST_TEMPERATURE = 1e-4
"""Logits are divided by it; below this they would overflow, and the likeliest is drawn anyway."""


CANDIDATES = 4096
"""Likeliest tokens that top-p looks at where top-k is off. It sorts what it looks at: with a vocabulary of 152,000
that takes up to 10 ms a token, and 0.5 ms with these. What remains differs from what would remain of all by no more (in
total variation) than the probability of the tokens beyond these and of the last token that is kept."""


class SamplerChain:
    """The samplers of one sequence in llama.cpp's usual order: penalties, top-k, top-p, min-p, temperature, draw.

    Without top-k, top-p chooses among the likeliest `CANDIDATES`. Temperature 0 takes the likeliest token after the
    penalties. The penalties see the end of the prompt too.
    """

    def __init__(
        self,
        library: ModuleType,
        model: NativeModel,
        sampling: Sampling,
        prompt: Sequence[int],
        context_tokens: int,
        drawn_seed: int | None,
    ) -> None:
        """`drawn_seed` is for a sampling that names no seed; None: one is drawn here."""
        self._library = library
        given = drawn_seed if sampling.seed is None else sampling.seed
        seed = secrets.randbits(32) if given is None else given
        # llama.cpp allocates memory for these at once, and there are never more than the context holds.
        last_tokens = min(sampling.penalty_last_tokens, context_tokens)
        parameters = library.llama_sampler_chain_default_params()
        self._handle = library.llama_sampler_chain_init(parameters)
        if _penalises(sampling):
            self._add(
                library.llama_sampler_init_penalties(
                    model.vocabulary_tokens,
                    last_tokens,
                    sampling.repeat_penalty,
                    sampling.frequency_penalty,
                    sampling.presence_penalty,
                )
            )
            for token in prompt[-last_tokens:]:
                library.llama_sampler_accept(self._handle, token)
        self._draw: object | None = None
        """The sampler that draws; None: the likeliest token is taken."""
        if sampling.temperature == 0:
            self._add(library.llama_sampler_init_greedy())
            return
        self._add(library.llama_sampler_init_top_k(_looked_at(sampling)))
        self._add(library.llama_sampler_init_top_p(sampling.top_p, 1))
        self._add(library.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(library.llama_sampler_init_temp(max(sampling.temperature, LEAST_TEMPERATURE)))
        # With the largest value llama.cpp would draw a seed itself.
        self._draw = library.llama_sampler_init_dist(seed % int(library.LLAMA_DEFAULT_SEED))
        self._add(self._draw)

    def _add(self, sampler: object) -> None:
        self._library.llama_sampler_chain_add(self._handle, sampler)

    def replay(self, token: int) -> None:
        """Takes a token that was chosen before: the next is chosen as it would have been then."""
        self._library.llama_sampler_accept(self._handle, token)
        if self._draw is not None:  # it draws once per token, of however many, and not by what it is told
            candidate = (self._library.llama_token_data * 1)()
            candidates = self._library.llama_token_data_array(candidate, 1, -1, False)
            self._library.llama_sampler_apply(self._draw, ctypes.byref(candidates))

    def sample(self, context: NativeContext, index: int) -> int:
        """Chooses a token by the logits at this index of the last batch, and remembers it for the penalties."""
        return int(self._library.llama_sampler_sample(self._handle, context.handle, index))

    def close(self) -> None:
        self._library.llama_sampler_free(self._handle)


def _penalises(sampling: Sampling) -> bool:
    strengths = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    return sampling.penalty_last_tokens > 0 and strengths != (1.0, 0.0, 0.0)


def _looked_at(sampling: Sampling) -> int:
    """Returns how many of the likeliest tokens go on to top-p; 0: all, of which min-p sorts none."""
    return sampling.top_k or (CANDIDATES if sampling.top_p < 1 else 0)
