"""`swap`: a request for a model that is not loaded, with room for one model only, until its first token."""

import time
from collections.abc import Callable

from .children import BareWorker, Load
from .figures import Result, Unit, at_most, figure, ratios
from .subject import Setup, context_of, look_up_need, running

MOST_OF_RAW_SUM = at_most(1.25)

SWAPS = 3
"""Per run, as many as raw ones."""
PAUSE_S = 1.0
"""Between swaps, as a person would leave it; then the spare worker is waited for."""
TOKENS = 2

NOTES = (
    "Warm page cache; the spare worker is ready; one second between swaps.",
    "The raw sum is what has to be done at least: SIGKILL a worker and reap it; load, context and first token in a "
    "worker that stands ready.",
    "llama-server's router was not measured: it is no part of vramd.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    swaps_s: list[float] = []
    parts_s: dict[str, list[float]] = {"reap": [], "load and context": [], "first token": []}
    pause_s, swaps = (0.0, 1) if setup.quick else (PAUSE_S, SWAPS)
    need = look_up_need(setup)
    with running(setup, ["a", "b"], need.budget_for_one) as subject:
        wanted = Load(setup.path, context_of(subject.client.load("a")), subject.threads())
        with subject.way("a") as a, subject.way("b") as b, Raw(wanted) as raw:
            cold, warm = b, a
            for swap in range(setup.runs * swaps):
                say(f"swap: {swap + 1} of {setup.runs * swaps}")
                subject.wait_for_spare()
                time.sleep(pause_s)
                swaps_s.append(cold.stream(TOKENS).first_token_s)
                cold, warm = warm, cold
                subject.wait_for_spare()
                time.sleep(pause_s)
                for name, took_s in raw.swap().items():
                    parts_s[name].append(took_s)
    sums_s = [sum(parts) for parts in zip(*parts_s.values(), strict=True)]
    return Result(
        "swap",
        (
            figure("request to first token, vramd", Unit.SECONDS, swaps_s),
            *(figure(f"raw: {name}", Unit.SECONDS, values) for name, values in parts_s.items()),
            figure("raw sum", Unit.SECONDS, sums_s),
            ratios("vramd / raw sum", swaps_s, sums_s, MOST_OF_RAW_SUM),
        ),
        NOTES,
    )


class Raw:
    """A worker with a model, and an idle one for the next swap; both without a supervisor."""

    def __init__(self, wanted: Load) -> None:
        self._wanted = wanted
        self._loaded = BareWorker()
        self._loaded.load(wanted)
        self._ready = BareWorker()

    def swap(self) -> dict[str, float]:
        """Kills the one, loads into the other, generates a token; the seconds of each. Starts the next worker."""
        reap_s = self._loaded.kill()
        load_s = self._ready.load(self._wanted)
        with self._ready.way(self._wanted.threads) as way:
            first_token_s = way.stream(TOKENS).first_token_s
        self._loaded, self._ready = self._ready, BareWorker()
        return {"reap": reap_s, "load and context": load_s, "first token": first_token_s}

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (self._loaded, self._ready):
            worker.kill()
