"""`ipc`: what the supervisor costs between a client and a worker, for short calls and for streams."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from vramd.bench.children import BareWorker, Load, relayed
from vramd.bench.figures import Figure, Result, Unit, at_least, at_most, figure, ratios
from vramd.bench.subject import Setup, context_of, running
from vramd.bench.wire import Way

MOST_OF_RELAY = at_most(1.25)
LEAST_OF_DIRECT = at_least(0.97)

ROUNDS, CALLS = 40, 20
"""In each run every way has so many turns of so many short calls."""
PAIRS, TOKENS = 4, 128
"""In each run both ways have so many streams of so many tokens."""

NOTES = (
    "A short call is Tokenize of three words; p50 of each run, the ways in turn.",
    "Direct and relayed calls go to one worker without a supervisor; all ways use the same raw gRPC client.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
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
        figures = _short_calls(setup, say, {"vramd": vramd["all"], "relay": relay, "direct": direct["all"]})
        for name, threads in shares.items():
            figures += _streams(setup, say, threads, vramd[name], direct[name])
    return Result("ipc", tuple(figures), NOTES)


def _short_calls(setup: Setup, say: Callable[[str], None], ways: Mapping[str, Way]) -> list[Figure]:
    rounds = 2 if setup.quick else ROUNDS
    p50_s: dict[str, list[float]] = {name: [] for name in ways}
    _turns(ways, 2)
    for run in range(setup.runs):
        say(f"ipc: short calls, run {run + 1} of {setup.runs}")
        for name, taken_s in _turns(ways, rounds).items():
            p50_s[name].append(statistics.median(taken_s))
    return [
        *(figure(f"short call, {name}, p50", Unit.SECONDS, values) for name, values in p50_s.items()),
        ratios("short call, vramd / relay", p50_s["vramd"], p50_s["relay"], MOST_OF_RELAY),
    ]


def _turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    taken_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken_s[name] += [way.unary_s() for _ in range(CALLS)]
    return taken_s


def _streams(setup: Setup, say: Callable[[str], None], threads: int, vramd: Way, direct: Way) -> list[Figure]:
    pairs, tokens = (1, 8) if setup.quick else (PAIRS, TOKENS)
    rates: dict[Way, list[float]] = {vramd: [], direct: []}
    for way in rates:
        way.stream(tokens)
    for run in range(setup.runs):
        say(f"ipc: streams with {threads} threads, run {run + 1} of {setup.runs}")
        for pair in range(pairs):
            for way in _in_turn((vramd, direct), pair):
                rates[way].append(way.stream(tokens).tokens_per_s)
    with_threads = f"{threads} thread{'s' if threads > 1 else ''}"
    return [
        figure(f"stream, vramd, {with_threads}", Unit.TOKENS_PER_S, rates[vramd]),
        figure(f"stream, direct, {with_threads}", Unit.TOKENS_PER_S, rates[direct]),
        ratios(f"stream, vramd / direct, {with_threads}", rates[vramd], rates[direct], LEAST_OF_DIRECT),
    ]


def _in_turn(ways: Sequence[Way], pair: int) -> Sequence[Way]:
    """Neither always goes first: what the first leaves behind meets both."""
    return ways[::-1] if pair % 2 else ways
