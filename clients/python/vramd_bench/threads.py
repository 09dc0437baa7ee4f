"""`threads`: one model that computes with 1, 2, 4 … CPU threads, and how many of them are the best."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import psutil

from .answering import Asking, prompt_tokens
from .figures import Result, Unit, figure
from .subject import Setup, Subject, context_of, running

COUNTS = (1, 2, 4, 6, 8, 12)
TOKENS = 100
PROMPT_TOKENS = 256
ANSWERS = 2
"""Per run and number of threads."""

Seen = Mapping[int, Mapping[str, Sequence[float]]]
"""Number of threads → measure → values."""

NOTES = (
    f"A prompt of about {PROMPT_TOKENS} tokens, an answer of {TOKENS}; the numbers of threads take turns, and the "
    "model is loaded again for each.",
    "CPU time / time: of the worker's process, over the whole answer; 2.00 is two cores that never rest.",
    f"An answer that ended earlier counts as if it had gone on to {TOKENS} tokens at its speed.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError."""
    with running(setup, ["a"]) as subject:
        counts = counts_for(subject.client.status().supervisor.usable_cores)
        counts = counts[:2] if setup.quick else counts
        seen: dict[int, dict[str, list[float]]] = {threads: {} for threads in counts}
        for run in range(setup.runs):
            # The order alternates: every number of threads is measured first as often as last.
            for threads in counts[::-1] if run % 2 else counts:
                say(f"threads: {threads}, run {run + 1} of {setup.runs}")
                for name, values in _one_turn(subject, threads, setup.quick).items():
                    seen[threads].setdefault(name, []).extend(values)
    return result(seen)


def counts_for(cores: int) -> tuple[int, ...]:
    """The numbers of threads that these cores can run at once."""
    return tuple(threads for threads in COUNTS if threads <= cores)


def best(rates: Mapping[int, Sequence[float]]) -> int:
    """The number of threads with the highest median; of equal ones the smallest."""
    return max(sorted(rates), key=lambda threads: statistics.median(rates[threads]))


def result(seen: Seen) -> Result:
    """One figure for each measure and number of threads, those of a measure together."""
    figures = [
        figure(f"{name}, {_words(threads)}", unit, values[name])
        for name, unit in _UNITS.items()
        for threads, values in seen.items()
    ]
    found = _words(best({threads: values[_RATE] for threads, values in seen.items()}))
    return Result("threads", tuple(figures), (*NOTES, f"The best here by the median of tokens/s: {found}."))


_FIRST, _RATE, _CPU, _ALL = "first token", "tokens per second", "CPU time / time", f"{TOKENS} tokens"
_UNITS = {_FIRST: Unit.SECONDS, _ALL: Unit.SECONDS, _RATE: Unit.TOKENS_PER_S, _CPU: Unit.RATIO}


def _one_turn(subject: Subject, threads: int, quick: bool) -> dict[str, list[float]]:
    tokens, answers = (8, 1) if quick else (TOKENS, ANSWERS)
    loaded = subject.client.load("a", threads=threads)
    subject.wait_for_spare()  # what starts in the background is not to be measured
    worker = psutil.Process(loaded.pid)
    asking = Asking(
        subject.client, "a", prompt_tokens(16 if quick else PROMPT_TOKENS, context_of(loaded), max(tokens, TOKENS))
    )
    asking.answer(2)
    seen: dict[str, list[float]] = {name: [] for name in _UNITS}
    for _ in range(answers):
        before_s = _cpu_s(worker)
        answer = asking.answer(tokens)
        seen[_CPU].append((_cpu_s(worker) - before_s) / answer.all_s)
        seen[_FIRST].append(answer.first_token_s)
        seen[_ALL].append(answer.seconds_for(TOKENS))
        seen[_RATE].append(answer.tokens_per_s)
    subject.client.unload("a")
    return seen


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _words(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"
