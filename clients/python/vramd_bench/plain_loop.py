"""The plain loop: llama.cpp in a process that does nothing else, without gRPC and without vramd's engine.

Run as `python -m vramd_bench.plain_loop`. Its orders are one line of JSON on stdin, the fields of `Loop`; it answers
`{"ready": true}`. Then each line asks for a computation, the fields of `Wanted`, and gets one line, those of `Ran`. It
leaves when its stdin ends.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType

from vramd_worker import containment
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.load import Opened, hide_devices, open_model, start_engine
from vramd_worker.llama.parameters import LlamaSpec

MOST_TOKENS_PER_BYTE = 3
"""A space is a mark of three bytes, each of which may be a token."""


@dataclass(frozen=True)
class Loop:
    """The model of a loop, with the settings of vramd's defaults."""

    path: str
    context_tokens: int
    threads: int
    parallel: int
    batch_tokens: int


@dataclass(frozen=True)
class Wanted:
    prompt: str
    streams: int
    tokens: int
    """Of each."""
    in_turn: bool
    """One stream after the other, not all in one batch."""


@dataclass(frozen=True)
class Ran:
    seconds: float
    first_s: float
    """Until the first token of any."""
    tokens: int
    """Of all."""


class PlainLoop:
    def __init__(self, library: ModuleType, opened: Opened) -> None:
        self._library = library
        self._context: NativeContext = opened.context
        self._model = opened.model
        parameters = library.llama_sampler_chain_default_params()
        self._sampler = library.llama_sampler_chain_init(parameters)
        library.llama_sampler_chain_add(self._sampler, library.llama_sampler_init_greedy())

    def run(self, wanted: Wanted) -> Ran:
        """Generates; the prompts have to fit into one batch."""
        prompt = self._tokens(wanted.prompt)
        self._context.forget_all()
        groups = [[slot] for slot in range(wanted.streams)] if wanted.in_turn else [list(range(wanted.streams))]
        first_s, tokens = 0.0, 0
        began_s = time.perf_counter()
        for slots in groups:
            for _ in self._together(slots, prompt, wanted.tokens):
                first_s = first_s or time.perf_counter() - began_s
                tokens += len(slots)
        return Ran(time.perf_counter() - began_s, first_s, tokens)

    def _together(self, slots: Sequence[int], prompt: Sequence[int], tokens: int) -> Iterator[None]:
        """Generates a token of each sequence at every step."""
        given = [prompt] * len(slots)
        at = 0
        for _ in range(tokens):
            chunks = [Chunk(slot, new, at, output=True) for slot, new in zip(slots, given, strict=True)]
            outcome, ends = self._context.compute(chunks)
            if outcome is not Outcome.DONE:
                raise RuntimeError(f"a batch ended as {outcome.name}")
            at += len(given[0])
            given = [[self._library.llama_sampler_sample(self._sampler, self._context.handle, end)] for end in ends]
            yield

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        found = (self._library.llama_token * (MOST_TOKENS_PER_BYTE * len(data) + 8))()
        vocabulary = self._library.llama_model_get_vocab(self._model.handle)
        count = self._library.llama_tokenize(vocabulary, data, len(data), found, len(found), True, False)
        if count < 0:
            raise RuntimeError(f"{text!r} has {-count} tokens")
        return list(found[:count])


def main() -> None:
    """Serves until its orders end."""
    containment.step_back()
    orders = Loop(**json.loads(sys.stdin.readline()))
    hide_devices()
    library = start_engine(untested=True)
    spec = LlamaSpec(
        path=orders.path,
        device="host",
        gpu_layers=0,
        kv_type="f16",
        threads=orders.threads,
        context_tokens=orders.context_tokens,
        batch_tokens=orders.batch_tokens,
        ubatch_tokens=orders.batch_tokens,
        parallel=orders.parallel,
    )
    loop = PlainLoop(library, open_model(library, spec, orders.threads, lambda _share: None))
    _say({"ready": True})
    for line in sys.stdin:
        _say(asdict(loop.run(Wanted(**json.loads(line)))))


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
