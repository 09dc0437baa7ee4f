"""`prompt`: a long prompt beside three streams: what each costs the other."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from . import arms
from .arms import Arms
from .figures import BenchError, Figure, Result, Unit, at_least, at_most, figure, ratios
from .peer import PeerLoad, serving
from .streamed import Live, Streamed, Target, fresh_prompt
from .subject import Setup, running

LEAST_OF_RATE = at_least(0.6)
MOST_OF_ALONE = at_most(1.6)
PROMPT_TOKENS, CONTEXT_TOKENS = 2000, 4096
QUICK_TOKENS = 1000
STREAMS = 3
BEFORE_MESSAGES, QUICK_MESSAGES = 24, 2
"""Of each stream, before the prompt comes, while all run."""
BESIDE_TOKENS = 100
"""Of the context, for the short prompts of the streams."""
ROUNDS = 2
"""Per run and arm."""

VRAMD, PEER = "vramd", "llama-server"
NOTES = (
    f"A prompt of about {PROMPT_TOKENS} tokens that comes while {STREAMS} streams run. Rates are those of all streams "
    "together, before the prompt and until its first token; the gap is the longest between two messages of a stream "
    "meanwhile. No two prompts begin alike; llama-server has no cache of prompts.",
    arms.NOTE,
)


@dataclass(frozen=True)
class Beside:
    """One prompt, alone and beside streams."""

    alone_s: float
    """To its first token."""
    beside_s: float
    rate_before: float
    """Tokens per second of all streams."""
    rate_beside: float
    gap_s: float


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    found: dict[str, list[Beside]] = {}
    taking = Arms(setup)
    for run in range(setup.runs):
        say(f"prompt: run {run + 1} of {setup.runs}")
        _one_run(setup, taking, found)
    return Result("prompt", (*judged(found), *taking.figures()), NOTES)


def judged(found: Mapping[str, Sequence[Beside]]) -> list[Figure]:
    """The figures of all arms; vramd's have the bars."""
    figures = []
    for arm, seen in found.items():
        before, beside = [one.rate_before for one in seen], [one.rate_beside for one in seen]
        alone_s, beside_s = [one.alone_s for one in seen], [one.beside_s for one in seen]
        bars = (LEAST_OF_RATE, MOST_OF_ALONE) if arm == VRAMD else (None, None)
        figures += [
            figure(f"streams before the prompt, {arm}", Unit.TOKENS_PER_S, before),
            figure(f"streams beside the prompt, {arm}", Unit.TOKENS_PER_S, beside),
            figure(f"longest gap of a stream, {arm}", Unit.SECONDS, [one.gap_s for one in seen]),
            figure(f"first token of the prompt, alone, {arm}", Unit.SECONDS, alone_s),
            figure(f"first token of the prompt, beside streams, {arm}", Unit.SECONDS, beside_s),
            ratios(f"streams beside / before, {arm}", beside, before, bars[0]),
            ratios(f"prompt beside / alone, {arm}", beside_s, alone_s, bars[1]),
        ]
    return figures


def _one_run(setup: Setup, taking: Arms, found: dict[str, list[Beside]]) -> None:
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["a"]))
        threads = setup.threads
        loaded = subject.client.load("a", threads=threads, context=CONTEXT_TOKENS)
        subject.wait_for_spare()  # what starts in the background is not to be measured
        length, messages = (QUICK_TOKENS, QUICK_MESSAGES) if setup.quick else (PROMPT_TOKENS, BEFORE_MESSAGES)
        text = subject.text("a", length)
        targets: dict[str, Target] = {VRAMD: stack.enter_context(subject.way("a"))}
        if setup.peer:
            load = PeerLoad(CONTEXT_TOKENS, threads, loaded.parallel)
            targets[PEER] = stack.enter_context(serving(setup.peer, setup.path, load))
        most = (CONTEXT_TOKENS - length - BESIDE_TOKENS) // STREAMS
        pool = stack.enter_context(ThreadPoolExecutor(STREAMS))
        for target in targets.values():
            target.stream(2)
        once = partial(_once, pool, text, most, messages)
        for turn in range(1 if setup.quick else ROUNDS):
            # None always goes first: what one leaves behind meets all.
            for arm in list(targets)[:: -1 if turn % 2 else 1]:
                found.setdefault(arm, []).append(taking.take(arm, partial(once, targets[arm])))


def _once(pool: ThreadPoolExecutor, text: str, most: int, messages: int, target: Target) -> Beside:
    """Sends the prompt alone, then beside streams of `most` tokens each that have given some messages."""
    alone = target.stream(1, fresh_prompt() + text)
    lives = [Live() for _ in range(STREAMS)]
    running_streams = [pool.submit(target.stream, most, "", live) for live in lives]
    try:
        for live in lives:
            live.wait_for(1)
        from_s, came = time.perf_counter(), [live.messages for live in lives]
        for live, before in zip(lives, came, strict=True):
            if not live.wait_for(before + messages):
                raise BenchError("the streams ended before the prompt came")
        long = target.stream(1, fresh_prompt() + text)
    finally:
        for live in lives:
            live.break_off()
    return seen(alone, long, from_s, [stream.result() for stream in running_streams])


def seen(alone: Streamed, long: Streamed, from_s: float, streams: Sequence[Streamed]) -> Beside:
    """What the prompt cost the streams, and they it; `from_s`: the moment at which all streams ran."""
    sent_s, first_s = long.began_s, long.times_s[0]
    gap_s = 0.0
    for stream in streams:
        inside = [sent_s, *(at_s for at_s in stream.times_s if sent_s < at_s < first_s), first_s]
        gap_s = max(gap_s, *(later - sooner for sooner, later in itertools.pairwise(inside)))
    return Beside(
        alone.first_token_s,
        long.first_token_s,
        _rate(streams, from_s, sent_s),
        _rate(streams, sent_s, first_s),
        gap_s,
    )


def _rate(streams: Sequence[Streamed], from_s: float, to_s: float) -> float:
    return sum(stream.tokens_between(from_s, to_s) for stream in streams) / (to_s - from_s)
