"""Checks what a worker says: by now it may be the word of any program. Pure, on plain values.

Whatever breaks a rule here is a `BreachError`, and the process is ended: its calls end as those of a process that died.
"""

import math
import re
from collections.abc import Callable, Sequence

from vramd_common.printable import one_line
from vramd_common.rendezvous import PROTOCOL, Hello
from vramd_common.replay import MOST_REPLAYED_CHUNKS

MOST_HELLO_TEXT_BYTES = 2000
MOST_BACKENDS = 32
MOST_BACKEND_CHARACTERS = 32
MOST_PROGRESS = 1000
"""Messages of progress in a load; a worker tells each hundredth."""
THREADS = frozenset({"load", "prompts", "decode"})
MOST_BEATS_PER_S = 4
SPARE_BEATS = 100
"""Beyond that."""
MOST_CONTEXT_TOKENS = 1 << 31
MOST_BYTES = 1 << 50
"""Of memory, on one device."""
MOST_DEVICES = 64
MOST_TOKEN_ID = 1 << 24
"""No vocabulary comes near it."""
SPARE_TOKENS = 64
"""Beyond what was asked for: an answer that has so many more does not end."""

_LOCAL_PORT = re.compile(r"127\.0\.0\.1:([1-9][0-9]{0,4})")


class BreachError(Exception):
    """A worker has not kept to the protocol; the text says in which way, for people."""


def check_hello(hello: Hello, nonce: str, child_pid: int, socket_dir: str, parent_of: Callable[[int], int]) -> Hello:
    """Returns the hello with texts that can be shown. Raises BreachError.

    The process is the child, or the child's child: on Windows a launcher starts the interpreter. `parent_of` gives 0
    for a process that is not there.
    """
    if hello.nonce != nonce:
        raise BreachError("its hello does not carry the nonce that it was given")
    if hello.protocol != PROTOCOL:
        raise BreachError(f"it speaks version {hello.protocol:.20g} of the protocol, {PROTOCOL} is needed")
    if hello.pid != child_pid and (hello.pid <= 0 or parent_of(hello.pid) != child_pid):
        raise BreachError("the process id in its hello is not its own")
    if not _is_address(hello, socket_dir):
        raise BreachError("the address in its hello is none that it was given")
    if len(hello.backends) > MOST_BACKENDS or any(len(one) > MOST_BACKEND_CHARACTERS for one in hello.backends):
        raise BreachError("the backends in its hello are too many or too long")
    version, problem = (one_line(text, MOST_HELLO_TEXT_BYTES) for text in (hello.llama_version, hello.llama_problem))
    backends = tuple(one_line(one, MOST_BACKEND_CHARACTERS) for one in hello.backends)
    return Hello(PROTOCOL, nonce, hello.pid, hello.address, version, problem, backends)


def _is_address(hello: Hello, socket_dir: str) -> bool:
    if socket_dir:
        folder, _, name = hello.address.rpartition("/")
        return folder == f"unix:{socket_dir}" and re.fullmatch(rf"{hello.pid}\.[0-9a-f]{{1,16}}", name) is not None
    port = _LOCAL_PORT.fullmatch(hello.address)
    return port is not None and int(port[1]) < 1 << 16


class LoadCheck:
    """The messages of one load, in order."""

    def __init__(self) -> None:
        self._share = 0.0
        self._told = 0
        self._over = False

    def progress(self, share: float) -> float:
        """Takes in the share of the weights that is read. Raises BreachError."""
        self._go_on()
        self._told += 1
        if not 0.0 <= share <= 1.0 or share < self._share:  # NaN is neither
            raise BreachError("the progress of its load is no share, or goes back")
        if self._told > MOST_PROGRESS:
            raise BreachError("the progress of its load has no end")
        self._share = share
        return share

    def loaded(self, context_tokens: int, memory: Sequence[tuple[str, int]]) -> None:
        """Takes in the last message: tokens, and bytes by the name of the device. Raises BreachError."""
        self._go_on()
        self._over = True
        if not 0 < context_tokens < MOST_CONTEXT_TOKENS:
            raise BreachError("the context that it has loaded is out of range")
        if len(memory) > MOST_DEVICES or any(size > MOST_BYTES for _, size in memory):
            raise BreachError("the memory that it has taken is out of range")

    def end(self) -> None:
        """The stream has ended in order. Raises BreachError."""
        if not self._over:
            raise BreachError("it ended a load without a last word")

    def _go_on(self) -> None:
        if self._over:
            raise BreachError("it went on after the last word of a load")


class BeatCheck:
    """What a worker says of its threads, again and again."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._told = 0

    def beat(self, threads: Sequence[str], now_s: float) -> None:
        """Takes in one that names these threads. Raises BreachError."""
        self._told += 1
        if self._told > SPARE_BEATS + MOST_BEATS_PER_S * (now_s - self._began_s):
            raise BreachError("it tells what it does without a pause")
        if len(threads) > len(THREADS) or not THREADS.issuperset(threads):
            raise BreachError("it tells of threads that no worker has")


class AnswerCheck:
    """The messages of one answer, in order."""

    def __init__(self, most_tokens: int) -> None:
        """`most_tokens` is what was asked for, or what the context has."""
        self._most = most_tokens + SPARE_TOKENS
        self._tokens = 0
        self._messages = 0
        self._over = False

    def piece(self, token_ids: Sequence[int], *, last: bool) -> None:
        """Takes in a message; the `last` one says how the answer ended. Raises BreachError."""
        if self._over:
            raise BreachError("it went on after the end of an answer")
        self._over = last
        self._tokens += len(token_ids)
        self._messages += 1
        if token_ids:
            check_token_ids(token_ids)
        if max(self._tokens, self._messages) > self._most:
            raise BreachError(f"an answer of at most {self._most - SPARE_TOKENS} tokens did not end")

    def end(self) -> None:
        """The stream has ended in order. Raises BreachError."""
        if not self._over:
            raise BreachError("it ended an answer without saying how")


def check_cuts(cuts: Sequence[tuple[int, int, int]]) -> None:
    """Raises BreachError for what is no prompt's: tokens, tokens computed, and how often."""
    if len(cuts) > MOST_REPLAYED_CHUNKS or sum(times for _, _, times in cuts) > MOST_REPLAYED_CHUNKS:
        raise BreachError("the chunks of a prompt are more than it may tell")
    if not all(0 < tokens <= computed <= MOST_CONTEXT_TOKENS and times for tokens, computed, times in cuts):
        raise BreachError("the chunks of a prompt are out of range")


def check_token_ids(token_ids: Sequence[int]) -> None:
    """Raises BreachError for numbers that are no token of any vocabulary."""
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < MOST_TOKEN_ID):
        raise BreachError("it gave a token id out of range")


def check_cached(cached_tokens: int, prompt_tokens: int) -> None:
    """Raises BreachError if more of a prompt was cached than there is."""
    if cached_tokens > prompt_tokens:
        raise BreachError("it had more of a prompt in its cache than there is")


def check_seconds(*seconds: float) -> None:
    """Raises BreachError for what is no duration."""
    if not all(math.isfinite(one) and one >= 0 for one in seconds):
        raise BreachError("it told a duration that is none")


def check_vectors(lengths: Sequence[int], indexes: Sequence[int], dimensions: int, inputs: int) -> None:
    """Raises BreachError unless there is one vector of these dimensions for each of the `inputs`, in order."""
    if list(indexes) != list(range(inputs)) or dimensions < 1 or any(one != dimensions for one in lengths):
        raise BreachError("its embeddings are not those that were asked for")
