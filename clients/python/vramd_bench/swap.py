"""`swap`: a request for a model that is not loaded, with room for one model only, until its first token."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from vramd_supervisor.workers import huge_pages

from . import arms
from .arms import Arms
from .children import BareWorker, Load
from .figures import Bar, Figure, Result, Unit, at_most, figure, ratios
from .pages import same_as
from .peer import PeerLoad, routing
from .streamed import Target
from .subject import Setup, Subject, context_of, look_up_need, pid_of, running

MOST_OF_RAW_SUM = at_most(1.25)
MOST_OF_PEER = at_most(0.65)

NAMES = ("a", "b")
SWAPS = 3
"""Per run and arm."""
PAUSE_S = 1.0
"""Before each swap, as a person would leave it, once the spare worker is ready."""
TOKENS = 2

VRAMD, MAPPED, SMALL = "vramd", "mapped weights", "4 KiB pages"
RAW, PEER = "raw sum", "llama-server's router"
NOTES = (
    "Warm page cache; the spare worker is ready; one second before each swap; the arms take turns.",
    "The raw sum is what has to be done at least: SIGKILL a worker and reap it; load, context and first token in a "
    "worker that stands ready, with the same pages.",
    'Mapped weights: vramd with `[server] weights = "mapped"`; 4 KiB pages: with --no-huge-pages. llama-server\'s '
    "router has room for one model too, and starts a process when it is asked for another.",
    arms.NOTE,
)

Parts = Mapping[str, float]
"""Seconds of a swap, by what is done."""
Swap = Callable[[float], Parts]
"""Swaps once, after a pause of so many seconds."""


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    parts: dict[str, list[Parts]] = {}
    taking = Arms(setup)
    swaps, pause_s = (setup.runs, 0.0) if setup.quick else (setup.runs * SWAPS, PAUSE_S)
    with ExitStack() as stack:
        arms_of = _arms(setup, stack)
        for swap in range(swaps):
            say(f"swap: {swap + 1} of {swaps}")
            # None always goes first: what one leaves behind meets all.
            for arm in list(arms_of)[:: -1 if swap % 2 else 1]:
                parts.setdefault(arm, []).append(taking.take(arm, partial(arms_of[arm], pause_s)))
    return Result("swap", (*judged(parts), *taking.figures()), NOTES)


def judged(parts: Mapping[str, Sequence[Parts]]) -> list[Figure]:
    """The figures of all arms."""
    sums_s = {arm: [sum(one.values()) for one in found] for arm, found in parts.items()}
    figures = [figure(f"request to first token, {arm}", Unit.SECONDS, sums_s[arm]) for arm in parts if arm != RAW]
    for name in parts[RAW][0]:
        figures.append(figure(f"raw: {name}", Unit.SECONDS, [one[name] for one in parts[RAW]]))
    figures.append(figure("raw sum", Unit.SECONDS, sums_s[RAW]))
    bars: dict[str, Bar | None] = {RAW: MOST_OF_RAW_SUM, SMALL: None, MAPPED: None, PEER: MOST_OF_PEER}
    for arm, bar in bars.items():
        if arm in sums_s:
            figures.append(ratios(f"vramd / {arm}", sums_s[VRAMD], sums_s[arm], bar))
    return figures


def _arms(setup: Setup, stack: ExitStack) -> dict[str, Swap]:
    """Starts what is compared; each call swaps once."""
    need = look_up_need(setup)
    subject = stack.enter_context(running(setup, NAMES, need.budget_for_one, threads=setup.threads))
    found: dict[str, Swap] = {VRAMD: _swap_of(subject, stack)}
    loaded = subject.client.load(NAMES[0])
    load = Load(setup.path, context_of(loaded), setup.threads, loaded.parallel)
    found[RAW] = stack.enter_context(Raw(load, same_as(pid_of(loaded)))).swap
    mapped = stack.enter_context(
        running(setup, NAMES, need.budget_for_one, threads=setup.threads, server=['weights = "mapped"'])
    )
    found[MAPPED] = _swap_of(mapped, stack)
    if huge_pages.given():
        small = stack.enter_context(
            running(setup, NAMES, need.budget_for_one, threads=setup.threads, flags=["--no-huge-pages"])
        )
        found[SMALL] = _swap_of(small, stack)
    if setup.peer:
        peer_load = PeerLoad(load.context_tokens, load.threads, load.parallel)
        router = stack.enter_context(routing(setup.peer, setup.path, NAMES, peer_load))
        found[PEER] = _next_of([router.of(name) for name in NAMES], lambda: None)
    for swap in found.values():
        swap(0.0)  # from now on each has a model that has to go
    return found


def _swap_of(subject: Subject, stack: ExitStack) -> Swap:
    ways = [stack.enter_context(subject.way(name)) for name in NAMES]
    return _next_of(ways, subject.wait_for_spare)


def _next_of(targets: Sequence[Target], ready: Callable[[], object]) -> Swap:
    """Asks one of the targets after the other, once things are `ready`."""
    turns = itertools.cycle(targets)

    def swap(pause_s: float) -> Parts:
        ready()
        time.sleep(pause_s)
        return {"request to first token": next(turns).stream(TOKENS).first_token_s}

    return swap


class Raw:
    """A worker with a model, and an idle one for the next swap; both without a supervisor."""

    def __init__(self, wanted: Load, environment: Mapping[str, str]) -> None:
        """`environment` is that of its workers beyond this process's."""
        self._wanted = wanted
        self._environment = environment
        self._loaded = BareWorker(environment)
        self._loaded.load(wanted)
        self._ready = BareWorker(environment)

    def swap(self, pause_s: float) -> Parts:
        """Kills the one, loads into the other, generates a token; the seconds of each. Starts the next worker."""
        time.sleep(pause_s)
        reap_s = self._loaded.kill()
        load_s = self._ready.load(self._wanted)
        with self._ready.way(self._wanted.threads) as way:
            first_token_s = way.stream(TOKENS).first_token_s
        self._loaded, self._ready = self._ready, BareWorker(self._environment)
        return {"reap": reap_s, "load and context": load_s, "first token": first_token_s}

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (self._loaded, self._ready):
            worker.kill()
