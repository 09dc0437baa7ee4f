"""A context of llama.cpp: takes batches, gives logits or vectors. Used by the decode thread only."""

import ctypes
import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from vramd_worker.llama.model import NativeModel

_LOWEST = -3.4028234663852886e38
"""A logit by which nothing is drawn: the least that a float holds."""
_MOST_SEQUENCES = 256
"""Ids that llama.cpp's memory of attention has, however few of them a batch may use (LLAMA_MAX_SEQ)."""
_SHELVES = 64
"""Of these, most that are used for sequences that wait to be continued."""


class Chunk(NamedTuple):
    slot: int
    """Id of the sequence within the context."""
    tokens: Sequence[int]
    position: int
    """Position of the first token."""
    output: bool
    """Whether the result after the last token that is not spare is wanted."""
    spare: int = 0
    """Tokens at the end that are computed for the size of the chunk only, and forgotten."""


class Outcome(Enum):
    """How a batch ended. Any other code of llama.cpp ends the process."""

    DONE = 0
    NO_ROOM = 1
    """The memory lacks cells for it; nothing was changed."""
    ABORTED = 2
    """It was aborted; part of it may have been computed."""


class Pace:
    """Tells how long a batch may take, by the last ones. Written by the decode thread, read by any."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, float]] = deque(maxlen=32)
        self.batch_s = 0.0
        """Seconds that the present batch, or the last one, may take at most."""
        self.batches = 0
        """Batches that were computed to their ends."""

    def begin(self, tokens: int) -> float:
        """A batch of this size begins; returns the moment."""
        # Of a batch each token costs at most what it costs alone, and about what it costs in a batch of that size.
        alike = [seconds / count for count, seconds in self._last if 2 * count >= tokens]
        self.batch_s = tokens * max(alike or [seconds / count for count, seconds in self._last], default=0.0)
        return time.monotonic()

    def end(self, tokens: int, began_s: float) -> None:
        """A batch of this size, which began then, has been computed to its end."""
        self._last.append((tokens, time.monotonic() - began_s))
        self.batches += 1


class Logits:
    """Tells whether the results of one context are numbers, before a token is chosen by them.

    A state that is not a number makes every logit NaN, so a few of them tell. A weight that is not a number spoils its
    own token's logit in every batch: such tokens are found once, at the warm-up, and can never be chosen.
    """

    def __init__(self, library: ModuleType, handle: int, vocabulary_tokens: int) -> None:
        self._library = library
        self._handle = handle
        self._tokens = vocabulary_tokens
        self._looked_at = tuple({0, vocabulary_tokens // 2, vocabulary_tokens - 1})
        """Tokens whose logits are looked at instead of all."""
        self._mute: tuple[int, ...] = ()
        """Tokens whose logits are never numbers."""

    def learn(self, index: int) -> None:
        """Finds the tokens whose logits are not numbers in a batch where others are."""
        logits = self._at(index)[: self._tokens]
        if math.isfinite(sum(logits)):  # so each of them is
            return
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
        """Whether the logit of a chosen token is a number."""
        return 0 <= token < self._tokens and math.isfinite(self._at(index)[token])

    def _at(self, index: int) -> Any:
        return self._library.llama_get_logits_ith(self._handle, index)


class NativeContext:
    """Wraps the handle of a context, its memory and its batch, and frees them."""

    def __init__(
        self, library: ModuleType, model: NativeModel, handle: int, embeds: bool, *, swa_full: bool = False
    ) -> None:
        """`swa_full` says that layers with a window have as many cells as others."""
        self._library = library
        self._model = model
        self.handle = handle
        self.batch_tokens = batch_tokens = int(library.llama_n_batch(handle))
        """Most tokens of a batch; one more would abort the process."""
        self.cells = int(library.llama_n_ctx(handle))
        """Tokens that its memory holds in all."""
        self.sequence_cells = int(library.llama_n_ctx_seq(handle))
        """Most tokens that its memory holds of one sequence."""
        self.slots = int(library.llama_n_seq_max(handle))
        """Sequences that a batch may have."""
        self.drops_ends = False
        """Whether the memory can drop the end of a sequence; `learn_memory` finds out."""
        self.window_tokens = max(0, int(library.llama_model_n_swa(model.handle)))
        """Tokens that a memory which drops older ones holds for certain; 0: it holds all."""
        self._has_room_for_more = swa_full or not self.window_tokens
        memory = library.llama_get_memory(handle)
        self._memory = None if memory is None else int(memory)
        self._compute = library.llama_encode if self._memory is None else library.llama_decode
        self._tokens = (ctypes.c_int32 * batch_tokens)()
        self._positions = (ctypes.c_int32 * batch_tokens)()
        self._slot_counts = (ctypes.c_int32 * batch_tokens)(*([1] * batch_tokens))
        self._slot_addresses = (ctypes.c_size_t * batch_tokens)()
        self._outputs = (ctypes.c_int8 * batch_tokens)()
        self._slots: dict[int, ctypes.Array[ctypes.c_int32]] = {}
        # Pooling needs the output of every token.
        self._inner_output = int(embeds)
        self._abort = ctypes.create_string_buffer(2)
        self.pace = Pace()
        self.logits = Logits(library, handle, model.vocabulary_tokens)

    def close(self) -> None:
        self._library.llama_free(self.handle)

    @property
    def abort_address(self) -> int:
        """Address of a C string that is empty until computing is to be aborted."""
        return ctypes.addressof(self._abort)

    def set_abort(self, wanted: bool) -> None:
        """Ends the running batch early, where the backend can. Thread-safe."""
        self._abort.raw = b"\1\0" if wanted else b"\0\0"

    def set_threads(self, threads: int) -> None:
        """Sets the CPU threads from the next batch on."""
        self._library.llama_set_n_threads(self.handle, threads, threads)

    def compute(self, chunks: Sequence[Chunk]) -> tuple[Outcome, list[int]]:
        """Computes one batch without the GIL; returns how it ended and each chunk's index for sampling."""
        count = 0
        ends = []
        for chunk in chunks:
            end = count + len(chunk.tokens)
            length = len(chunk.tokens)
            self._tokens[count:end] = list(chunk.tokens)
            self._positions[count:end] = list(range(chunk.position, chunk.position + length))
            self._slot_addresses[count:end] = [self._slot_address(chunk.slot)] * length
            self._outputs[count:end] = [self._inner_output] * length
            last = end - 1 - chunk.spare
            self._outputs[last] = chunk.output
            ends.append(last)
            count = end
        batch = self._library.llama_batch(
            n_tokens=count,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._slot_counts,
            seq_id=ctypes.cast(self._slot_addresses, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._outputs,
        )
        began_s = self.pace.begin(count)
        code = int(self._compute(self.handle, batch))
        if code not in {outcome.value for outcome in Outcome}:
            _die(f"llama.cpp could not compute a batch of {count} tokens (code {code})")
        outcome = Outcome(code)
        if outcome is Outcome.DONE:  # any other takes less time than its tokens need
            self.pace.end(count, began_s)
            for chunk in chunks:
                if chunk.spare and not self.drop_end(chunk.slot, chunk.position + len(chunk.tokens) - chunk.spare):
                    _die("llama.cpp cannot drop the end of a sequence, which it could the first time")
        return outcome, ends

    def forget(self, slot: int) -> None:
        """Drops what the memory holds of a sequence."""
        if self._memory is not None:
            self._library.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def forget_all(self, *, wipe: bool = False) -> None:
        """Drops all that the memory holds; `wipe` zeroes it too, as a mask does not stop NaN."""
        if self._memory is not None:
            self._library.llama_memory_clear(self._memory, wipe)

    def learn_memory(self, tokens: int) -> None:
        """Finds out what the memory can do, by the first sequence, of which it holds this many tokens.

        A state that sums up all tokens stands for the last position only, and cannot go back.
        """
        self.drops_ends = tokens > 1 and self.first_position(0) == 0 and self.drop_end(0, tokens - 1)

    @property
    def shelves(self) -> int:
        """Ids that a sequence may have which is not computed: they cost nothing where all sequences share the cells.

        Cells for windows suffice for the sequences of a batch.
        """
        one_for_all = self.sequence_cells == self.cells
        if not (self.drops_ends and one_for_all and self._has_room_for_more):
            return 0
        return min(_SHELVES, _MOST_SEQUENCES - self.slots)

    def first_position(self, slot: int) -> int:
        """Returns the position of the oldest token that the memory holds of a sequence; -1 if it holds none."""
        return int(self._library.llama_memory_seq_pos_min(self._memory, slot))

    def drop_end(self, slot: int, tokens: int) -> bool:
        """Drops what the memory holds of a sequence behind this many tokens; false if it cannot, and has not."""
        return bool(self._library.llama_memory_seq_rm(self._memory, slot, tokens, -1))

    def copy(self, source: int, target: int, tokens: int | None) -> None:
        """Gives a sequence that holds nothing the first tokens of another too; None: all of them."""
        if self.sequence_cells == self.cells and tokens is not None:
            self._library.llama_memory_seq_cp(self._memory, source, target, 0, tokens)
            return
        # Between sequences with cells of their own llama.cpp copies whole ones only.
        self._library.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        if tokens is not None and not self.drop_end(target, tokens):
            _die("llama.cpp cannot drop the end of a sequence, which it could after the load")

    def vector(self, slot: int) -> list[float]:
        """Returns the pooled embedding of a sequence of the last batch."""
        values = self._library.llama_get_embeddings_seq(self.handle, slot)
        if not values:
            _die("llama.cpp computed a batch and has no embedding for it")
        return [float(value) for value in values[: self._model.embedding_dimensions]]

    def _slot_address(self, slot: int) -> int:
        if slot not in self._slots:
            self._slots[slot] = (ctypes.c_int32 * 1)(slot)
        return ctypes.addressof(self._slots[slot])


def _die(why: str) -> NoReturn:
    """Ends the process: after such an answer nothing of the library can be relied on."""
    sys.stderr.write(f"fatal: {why}\n")
    sys.stderr.flush()
    os.abort()
