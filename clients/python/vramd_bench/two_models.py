"""`two-models`: two models that generate at the same time, against the better of them alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .figures import BenchError, Result, Unit, at_least, figure, ratios
from .streamed import Streamed
from .subject import Setup, running

LEAST_OF_ALONE = at_least(0.8)
TOKENS = 256

NOTES = (
    "Both models are of one file, each in a process of its own; the CPU threads are shared out by vramd.",
    "Together: tokens of both while both generate. Alone: the better of the two, in the same run.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    alone: dict[str, list[float]] = {"a": [], "b": []}
    together: list[float] = []
    with running(setup, list(alone)) as subject:
        for name in alone:
            subject.client.load(name)
        subject.wait_for_spare()
        with subject.way("a") as a, subject.way("b") as b, ThreadPoolExecutor(2) as pool:
            ways = {"a": a, "b": b}
            for run in range(setup.runs):
                say(f"two-models: run {run + 1} of {setup.runs}")
                for name, way in ways.items():
                    alone[name].append(rate_together([way.stream(TOKENS)]))
                together.append(rate_together(list(pool.map(lambda way: way.stream(TOKENS), ways.values()))))
    better = [max(both) for both in zip(*alone.values(), strict=True)]
    return Result(
        "two-models",
        (
            *(figure(f"{name} alone", Unit.TOKENS_PER_S, rates) for name, rates in alone.items()),
            figure("both together", Unit.TOKENS_PER_S, together),
            ratios("together / the better one alone", together, better, LEAST_OF_ALONE),
        ),
        NOTES,
    )


def rate_together(streams: Sequence[Streamed]) -> float:
    """Tokens per second of all streams, while all of them generate. Raises BenchError if they never do."""
    from_s = max(stream.times_s[0] for stream in streams)
    to_s = min(stream.times_s[-1] for stream in streams)
    if from_s >= to_s:
        raise BenchError("the answers did not overlap: they are too short to be compared")
    return sum(stream.tokens_between(from_s, to_s) for stream in streams) / (to_s - from_s)
