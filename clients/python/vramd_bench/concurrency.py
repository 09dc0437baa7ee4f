"""`concurrency`: 1 to 12 streams at once, against the better of one batch and one stream after the other."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from . import arms
from .arms import Arms
from .children import BATCH_TOKENS, PlainLoop
from .figures import Bar, Figure, Result, Unit, at_least, figure, ratios
from .pages import same_as
from .peer import PeerLoad, serving
from .plain_loop import Loop, Wanted
from .streamed import Streamed, Target, fresh_prompt
from .subject import Setup, context_of, pid_of, running

POINTS = (1, 2, 3, 4, 6, 8, 12)
"""Numbers of streams."""
QUICK_POINTS = (1, 2)
LEAST_OF_BETTER = at_least(0.97)
LEAST_OF_FEWER = at_least(0.95)
"""Of the total with fewer streams: it never falls, but for what one measurement differs from the next."""
LEAST_OF_BATCH = at_least(0.95)
LEAST_OF_PEER = at_least(1.0)
MANY = 8
"""The number of streams at which the batch and llama-server are bars."""
TOKENS = 64
"""Of each stream."""

VRAMD, BATCH, TURNS, PEER = "vramd", "plain loop, one batch", "plain loop, in turn", "llama-server"
NOTES = (
    f"Total tokens per second from the requests, which leave together, to the last token; {TOKENS} tokens a stream. "
    f"The model has {max(POINTS)} sequences, and so has llama-server; no two prompts begin alike.",
    "The plain loop is llama.cpp without gRPC, with the same pages: all streams in one batch, or one after the other.",
    arms.NOTE,
)

Rates = Mapping[str, Mapping[int, Sequence[float]]]
"""Arm → number of streams → total tokens per second."""


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    rates: dict[str, dict[int, list[float]]] = {}
    taking = Arms(setup)
    for run in range(setup.runs):
        say(f"concurrency: run {run + 1} of {setup.runs}")
        _one_run(setup, say, taking, rates)
    return Result("concurrency", (*judged(rates), *taking.figures()), NOTES)


def judged(rates: Rates) -> list[Figure]:
    """The figures, point by point."""
    figures = [
        figure(f"{arm}, {words(streams)}", Unit.TOKENS_PER_S, values)
        for arm, points in rates.items()
        for streams, values in points.items()
    ]
    before: Sequence[float] | None = None
    for streams, vramd in rates[VRAMD].items():
        batch, turns = rates[BATCH][streams], rates[TURNS][streams]
        better = [max(pair) for pair in zip(batch, turns, strict=True)]
        figures.append(ratios(f"vramd / the better loop, {words(streams)}", vramd, better, LEAST_OF_BETTER))
        if before:
            figures.append(ratios(f"vramd, {words(streams)} / fewer", vramd, before, LEAST_OF_FEWER))
        many = streams == MANY
        if many:
            figures.append(ratios(f"vramd / one batch, {words(streams)}", vramd, batch, LEAST_OF_BATCH))
        if PEER in rates:
            bar: Bar | None = LEAST_OF_PEER if many else None
            figures.append(ratios(f"vramd / llama-server, {words(streams)}", vramd, rates[PEER][streams], bar))
        before = vramd
    return figures


def words(streams: int) -> str:
    """Names a number of streams."""
    return f"{streams} stream{'s' if streams > 1 else ''}"


def _one_run(setup: Setup, say: Callable[[str], None], taking: Arms, rates: dict[str, dict[int, list[float]]]) -> None:
    points, tokens = (QUICK_POINTS, 8) if setup.quick else (POINTS, TOKENS)
    most = max(points)
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["a"]))
        threads = setup.threads
        loaded = subject.client.load("a", threads=threads, parallel=most)
        subject.wait_for_spare()  # what starts in the background is not to be measured
        orders = Loop(str(setup.path), context_of(loaded), threads, most, BATCH_TOKENS)
        loop = stack.enter_context(PlainLoop(orders, same_as(pid_of(loaded))))
        targets: dict[str, Target] = {VRAMD: stack.enter_context(subject.way("a"))}
        if setup.peer:
            peer = serving(setup.peer, setup.path, PeerLoad(context_of(loaded), threads, most))
            targets[PEER] = stack.enter_context(peer)
        pool = stack.enter_context(ThreadPoolExecutor(most))
        measures: dict[str, Callable[[int], float]] = {
            arm: partial(_together, pool, target, tokens) for arm, target in targets.items()
        }
        measures[BATCH] = partial(_in_loop, loop, tokens, in_turn=False)
        measures[TURNS] = partial(_in_loop, loop, tokens, in_turn=True)
        for measured in measures.values():
            measured(most)
        for point, streams in enumerate(points):
            say(f"concurrency: {words(streams)}")
            # None always goes first: what one leaves behind meets all.
            for arm in list(measures)[:: -1 if point % 2 else 1]:
                values = rates.setdefault(arm, {}).setdefault(streams, [])
                values.append(taking.take(arm, partial(measures[arm], streams)))


def _together(pool: ThreadPoolExecutor, target: Target, tokens: int, streams: int) -> float:
    return total_rate(list(pool.map(lambda _: target.stream(tokens), range(streams))))


def total_rate(streams: Sequence[Streamed]) -> float:
    """Tokens per second of all streams, from the first request to the last token."""
    from_s = min(stream.began_s for stream in streams)
    to_s = max(stream.times_s[-1] for stream in streams)
    return sum(sum(stream.tokens) for stream in streams) / (to_s - from_s)


def _in_loop(loop: PlainLoop, tokens: int, streams: int, *, in_turn: bool) -> float:
    ran = loop.run(Wanted(fresh_prompt(), streams, tokens, in_turn))
    return ran.tokens / ran.seconds
