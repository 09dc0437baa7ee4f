"""`ipc`: what the supervisor costs between a client and a worker, for short calls and for streams."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from .children import BareWorker, Load, relayed
from .figures import Result, Unit, at_least, at_most, figure, ratios
from .subject import Setup, context_of, running
from .wire import Way

MOST_OF_RELAY = at_most(1.25)
LEAST_OF_DIRECT = at_least(0.97)

ROUNDS, CALLS = 40, 20
"""Per run and target: turns, and short calls in each."""
PAIRS, TOKENS = 2, 128
"""Per half of a run and target: streams, and tokens of each."""

Rates = tuple[list[float], list[float]]
"""Tokens per second through vramd, and directly from a worker, pair by pair."""

NOTES = (
    "A short call is Tokenize of three words; p50 of each run, the ways in turn.",
    "Direct and relayed calls go to one worker without a supervisor; all ways use the same raw gRPC client. "
    "Each run has processes of its own, and half of its streams come behind a restart of vramd's workers: neither way "
    "always has the older process.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    p50_s: dict[str, list[float]] = {"vramd": [], "relay": [], "direct": []}
    rates: dict[int, Rates] = {}
    for run in range(setup.runs):
        say(f"ipc: run {run + 1} of {setup.runs}")
        _one_run(setup, p50_s, rates)
    figures = [figure(f"short call, {name}, p50", Unit.SECONDS, values) for name, values in p50_s.items()]
    figures.append(ratios("short call, vramd / relay", p50_s["vramd"], p50_s["relay"], MOST_OF_RELAY))
    for threads, (vramd, direct) in rates.items():
        with_threads = f"{threads} thread{'s' if threads > 1 else ''}"
        figures += [
            figure(f"stream, vramd, {with_threads}", Unit.TOKENS_PER_S, vramd),
            figure(f"stream, direct, {with_threads}", Unit.TOKENS_PER_S, direct),
            ratios(f"stream, vramd / direct, {with_threads}", vramd, direct, LEAST_OF_DIRECT),
        ]
    return Result("ipc", tuple(figures), NOTES)


def _one_run(setup: Setup, p50_s: Mapping[str, list[float]], rates: dict[int, Rates]) -> None:
    with ExitStack() as stack:
        subject = stack.enter_context(running(setup, ["all", "fewer"]))
        most = subject.threads()
        shares = {"all": most, "fewer": most - 1} if most > 1 else {"all": most}
        loaded = [subject.client.load(name, threads=threads) for name, threads in shares.items()]
        worker = stack.enter_context(BareWorker())
        worker.load(Load(setup.path, context_of(loaded[0]), most))
        subject.wait_for_spare()  # what starts in the background is not to be measured
        vramd = {name: stack.enter_context(subject.way(name)) for name in shares}
        direct = {name: stack.enter_context(worker.way(threads)) for name, threads in shares.items()}
        relay = stack.enter_context(relayed(worker, most))
        ways = {"vramd": vramd["all"], "relay": relay, "direct": direct["all"]}
        _turns(ways, 2)
        for name, taken_s in _turns(ways, 2 if setup.quick else ROUNDS).items():
            p50_s[name].append(statistics.median(taken_s))
        for name, threads in shares.items():
            _streams(setup, vramd[name], direct[name], rates.setdefault(threads, ([], [])))
        for name in shares:
            subject.client.restart(name)  # now the worker that is called directly is the older one
        subject.wait_for_spare()
        for name, threads in shares.items():
            _streams(setup, vramd[name], direct[name], rates[threads])


def _turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    taken_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken_s[name] += [way.unary_s() for _ in range(CALLS)]
    return taken_s


def _streams(setup: Setup, vramd: Way, direct: Way, rates: Rates) -> None:
    pairs, tokens = (1, 8) if setup.quick else (PAIRS, TOKENS)
    both = ((vramd, rates[0]), (direct, rates[1]))
    for way, _ in both:
        way.stream(tokens)
    for pair in range(pairs):
        # Neither always goes first: what the first leaves behind meets both.
        for way, values in both[::-1] if pair % 2 else both:
            values.append(way.stream(tokens).tokens_per_s)
