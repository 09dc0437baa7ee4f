"""`stream`: one stream through vramd, beside its own worker, the plain loop, 4 KiB pages, and llama-server."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from vramd import ResidentModel
from vramd_supervisor.workers import huge_pages

from . import arms
from .arms import Arms
from .children import BATCH_TOKENS, PlainLoop
from .figures import Bar, Figure, Result, Unit, at_least, figure, ratios
from .ipc import words
from .pages import huge_bytes, same_as
from .peer import PeerLoad, serving
from .plain_loop import Loop, Wanted
from .streamed import Target, fresh_prompt
from .subject import Setup, Subject, context_of, pid_of, running
from .wire import to_worker

LEAST_OF_SMALL_PAGES = at_least(1.2)
LEAST_OF_DIRECT = at_least(0.97)
LEAST_OF_LOOP = at_least(0.97)
LEAST_OF_PEER = at_least(1.15)
"""With one thread."""

ROUNDS, TOKENS = 4, 128
"""Per run and number of threads: streams of each arm, and tokens of each."""

VRAMD, DIRECT, LOOP, SMALL, PEER = "vramd", "direct", "plain loop", "4 KiB pages", "llama-server"
NOTES = (
    "vramd and direct end in one worker process; direct calls pass the supervisor by. The plain loop is llama.cpp in a "
    "process of the benchmark, with the same pages, without gRPC. 4 KiB pages: vramd with --no-huge-pages.",
    "Each run, and each number of threads in it, has processes of its own: two processes of one model differ by the "
    "pages that they got. No two prompts begin alike, so that nothing is computed from a cache.",
    arms.NOTE,
)
NO_HUGE_PAGES = "This kernel gives no huge pages, or the C library cannot ask for them: both arms have pages of 4 KiB."

Rates = Mapping[str, list[float]]
"""Tokens per second, by arm."""


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    rates: dict[int, dict[str, list[float]]] = {}
    pages: dict[str, list[float]] = {}
    taking = Arms(setup)
    for run in range(setup.runs):
        for threads in sorted({1, setup.threads}):
            say(f"stream: {words(threads)}, run {run + 1} of {setup.runs}")
            _one_turn(setup, threads, taking, rates.setdefault(threads, {}), pages)
    figures: list[Figure] = []
    for threads, of_arm in rates.items():
        figures += judged(threads, of_arm, huge_pages.given())
    figures += [figure(f"in huge pages, {arm}", Unit.BYTES, values) for arm, values in pages.items()]
    notes = NOTES if huge_pages.given() else (*NOTES, NO_HUGE_PAGES)
    return Result("stream", (*figures, *taking.figures()), notes)


def judged(threads: int, rates: Rates, huge: bool) -> list[Figure]:
    """The figures of one number of threads; `huge`: there are huge pages, so that there is something to gain."""
    bars: dict[str, Bar | None] = {
        DIRECT: LEAST_OF_DIRECT,
        LOOP: LEAST_OF_LOOP,
        SMALL: LEAST_OF_SMALL_PAGES if huge else None,
        PEER: LEAST_OF_PEER if threads == 1 else None,
    }
    figures = [figure(f"{arm}, {words(threads)}", Unit.TOKENS_PER_S, values) for arm, values in rates.items()]
    for arm, bar in bars.items():
        if arm in rates:
            figures.append(ratios(f"{VRAMD} / {arm}, {words(threads)}", rates[VRAMD], rates[arm], bar))
    return figures


def _one_turn(
    setup: Setup, threads: int, taking: Arms, rates: dict[str, list[float]], pages: dict[str, list[float]]
) -> None:
    rounds, tokens = (1, 8) if setup.quick else (ROUNDS, TOKENS)
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["a"]))
        small = stack.enter_context(running(setup, ["a"], flags=["--no-huge-pages"]))
        loaded, loaded_small = _load(subject, threads), _load(small, threads)
        orders = Loop(str(setup.path), context_of(loaded), threads, loaded.parallel, BATCH_TOKENS)
        loop = stack.enter_context(PlainLoop(orders, same_as(pid_of(loaded))))
        ways: dict[str, Target] = {
            VRAMD: stack.enter_context(subject.way("a")),
            DIRECT: stack.enter_context(to_worker(subject.worker(loaded), threads)),
            SMALL: stack.enter_context(small.way("a")),
        }
        pids = {VRAMD: pid_of(loaded), SMALL: pid_of(loaded_small), LOOP: loop.pid}
        if setup.peer:
            load = PeerLoad(context_of(loaded), threads, loaded.parallel)
            peer = stack.enter_context(serving(setup.peer, setup.path, load))
            ways[PEER], pids[PEER] = peer, peer.pid
        measures = {arm: partial(_rate, way, tokens) for arm, way in ways.items()}
        measures[LOOP] = partial(_rate_of_loop, loop, tokens)
        for measured in measures.values():
            measured()
        for turn in range(rounds):
            # None always goes first: what one leaves behind meets all.
            for arm in list(measures)[:: -1 if turn % 2 else 1]:
                rates.setdefault(arm, []).append(taking.take(f"{arm}, {words(threads)}", measures[arm]))
        for arm, pid in pids.items():
            if (size := huge_bytes(pid)) is not None:
                pages.setdefault(arm, []).append(size)


def _load(subject: Subject, threads: int) -> ResidentModel:
    loaded = subject.client.load("a", threads=threads)
    subject.wait_for_spare()  # what starts in the background is not to be measured
    return loaded


def _rate(target: Target, tokens: int) -> float:
    return target.stream(tokens).tokens_per_s


def _rate_of_loop(loop: PlainLoop, tokens: int) -> float:
    ran = loop.run(Wanted(fresh_prompt(), 1, tokens, in_turn=False))
    return ran.tokens / ran.seconds
