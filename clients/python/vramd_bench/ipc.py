"""`ipc`: what the supervisor costs between a client and a worker, for short calls and for streams."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from . import arms
from .arms import Arms
from .children import relayed
from .figures import Result, Unit, at_least, at_most, figure, ratios
from .subject import Setup, running
from .wire import Way, to_worker

MOST_OF_RELAY = at_most(1.25)
LEAST_OF_DIRECT = at_least(0.97)

ROUNDS, CALLS = 40, 20
"""Per run and target: turns, and short calls in each."""
PAIRS, TOKENS = 4, 128
"""Per run and number of threads: streams each way, and tokens of each."""

Rates = tuple[list[float], list[float]]
"""Tokens per second through vramd, and directly from a worker, pair by pair."""

NOTES = (
    "A short call is Tokenize of three words; p50 of each run, the ways in turn.",
    "All ways end in one process, vramd's own worker, and use the same raw gRPC client: direct calls pass the "
    "supervisor by, relayed ones take a bare relay in its place. Each run has processes of its own.",
    arms.NOTE,
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    p50_s: dict[str, list[float]] = {"vramd": [], "relay": [], "direct": []}
    rates: dict[int, Rates] = {}
    taking = Arms(setup)
    for run in range(setup.runs):
        say(f"ipc: run {run + 1} of {setup.runs}")
        _one_run(setup, taking, p50_s, rates)
    figures = [figure(f"short call, {name}, p50", Unit.SECONDS, values) for name, values in p50_s.items()]
    figures.append(ratios("short call, vramd / relay", p50_s["vramd"], p50_s["relay"], MOST_OF_RELAY))
    for threads, (vramd, direct) in rates.items():
        with_threads = words(threads)
        figures += [
            figure(f"stream, vramd, {with_threads}", Unit.TOKENS_PER_S, vramd),
            figure(f"stream, direct, {with_threads}", Unit.TOKENS_PER_S, direct),
            ratios(f"stream, vramd / direct, {with_threads}", vramd, direct, LEAST_OF_DIRECT),
        ]
    return Result("ipc", (*figures, *taking.figures()), NOTES)


def words(threads: int) -> str:
    """Names a number of threads."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _one_run(setup: Setup, taking: Arms, p50_s: Mapping[str, list[float]], rates: dict[int, Rates]) -> None:
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["all", "fewer"]))
        most = setup.threads
        shares = {"all": most, "fewer": most - 1} if most > 1 else {"all": most}
        loaded = {name: subject.client.load(name, threads=threads) for name, threads in shares.items()}
        subject.wait_for_spare()  # what starts in the background is not to be measured
        workers = {name: subject.worker(model) for name, model in loaded.items()}
        vramd = {name: stack.enter_context(subject.way(name)) for name in shares}
        direct = {name: stack.enter_context(to_worker(workers[name], shares[name])) for name in shares}
        relay = stack.enter_context(relayed(workers["all"], most))
        ways = {"vramd": vramd["all"], "relay": relay, "direct": direct["all"]}
        _turns(ways, 2)
        for name, taken_s in taking.take("short calls", lambda: _turns(ways, 2 if setup.quick else ROUNDS)).items():
            p50_s[name].append(statistics.median(taken_s))
        for name, threads in shares.items():
            _streams(setup, taking, vramd[name], direct[name], rates.setdefault(threads, ([], [])))


def _turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    taken_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken_s[name] += [way.unary_s() for _ in range(CALLS)]
    return taken_s


def _streams(setup: Setup, taking: Arms, vramd: Way, direct: Way, rates: Rates) -> None:
    pairs, tokens = (1, 8) if setup.quick else (PAIRS, TOKENS)
    both = (("vramd", vramd, rates[0]), ("direct", direct, rates[1]))
    for _, way, _ in both:
        way.stream(tokens)
    for pair in range(pairs):
        # Neither always goes first: what the first leaves behind meets both.
        for name, way, values in both[::-1] if pair % 2 else both:
            values.append(taking.take(f"stream, {name}", partial(way.stream, tokens)).tokens_per_s)
