"""`vramd bench`: how fast, how small; each figure beside the least that could be done in vramd's place."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vramd_bench import BENCHMARKS, MARKS, PEERED

from .. import output
from ..settings import json_flag

if TYPE_CHECKING:
    from vramd_bench.report import Report

NEEDS_BENCH = "this command needs: pip install 'vramd[bench]'"
BENCH_MODULES = frozenset({"gguf", "matplotlib", "numpy"})
"""Modules that only this extra installs."""

File = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("bench", short_help="Measure vramd on this machine.")
@click.argument("benchmark", type=click.Choice([*BENCHMARKS, "all"]), default="all")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Repetitions.")
@click.option("--model", "model", type=File, help="GGUF file; else one of random weights is made, once.")
@click.option("--quick", is_flag=True, help="A tiny model and few measurements, to see that it works.")
@click.option("--peer", type=File, help=f"A llama-server to measure beside vramd: {', '.join(PEERED)}.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder for a PNG of each benchmark.")
@click.option("--readme", type=File, help=f"File that gets the tables, between {' and '.join(MARKS)}.")
@json_flag
def bench(
    benchmark: str,
    runs: int,
    model: Path | None,
    quick: bool,
    peer: Path | None,
    plots: Path | None,
    readme: Path | None,
    as_json: bool,
) -> None:
    """Measures vramd on this machine, with supervisors of its own: a running one is left alone.

    stream is one answer, concurrency 1 to 12 at once, talk a conversation of ten turns, prompt a long prompt beside
    three streams. With --peer a llama-server does the same in the same run, at the priority of a worker, with the same
    file, threads, context and number of sequences; its cache of prompts is on in talk alone.

    A bar that is missed is said to be missed; the exit code tells only whether the measurements could be made. Nothing
    else should run on the machine meanwhile.
    """
    if peer and benchmark not in (*PEERED, "all"):
        raise click.UsageError(f"{benchmark} has nothing to compare llama-server with; {', '.join(PEERED)} have")
    import grpc
    from vramd_bench import report, suite
    from vramd_bench.figures import BenchError
    from vramd_bench.subject import Setup

    for name in [name for name in os.environ if name.startswith("VRAMD_") and name != "VRAMD_WORKER_ENVIRONMENT"]:
        # The supervisors that are measured are set up by the benchmark alone, but for what llama.cpp needs here.
        del os.environ[name]
    # What was started for a comparison is ended with this program, and a signal's default would leave it behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        if readme is not None:
            report.put_into(readme.read_text("utf-8"), "")  # what cannot be written is not measured for minutes first
        setup = Setup(model.absolute() if model else _made(quick), runs, quick, peer.absolute() if peer else None)
        names = BENCHMARKS if benchmark == "all" else (benchmark,)
        found = suite.run(names, setup, _say)
        _print(found, as_json)
        if plots is not None:
            _draw(found, plots)
        if readme is not None:
            report.write_readme(readme, found)
    except BenchError as error:
        raise output.Failed(str(error)) from error
    except OSError as error:
        raise output.Failed(f"{error.filename or 'the system'}: {error.strerror or error}") from error
    except grpc.RpcError as error:
        raise output.Failed(f"a call that was to be measured failed: {error}") from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BENCH_MODULES:
            raise
        raise output.Failed(NEEDS_BENCH) from error


def _say(what: str) -> None:
    """Shows what is going on to a person; a pipe gets the results alone."""
    if sys.stderr.isatty():
        output.say(what, err=True)


def _made(quick: bool) -> Path:
    from vramd_bench import random_model

    return random_model.cached(random_model.QUICK if quick else random_model.USUAL, _say)


def _draw(found: Report, folder: Path) -> None:
    from vramd_bench import plots, report

    for result in found.results:
        _say(f"draws {plots.draw(result, folder, report.where(found))}")


def _print(found: Report, as_json: bool) -> None:
    from vramd_bench import report

    if as_json:
        output.json(report.as_json(found))
        return
    output.say(report.where(found))
    for result in found.results:
        output.say()
        output.say(result.benchmark)
        output.table(report.COLUMNS, report.rows(result), "nothing was measured")
        for note in result.notes:
            output.say(f"  {note}")
    if missed := report.missed(found.results):
        output.say()
        output.say(f"missed: {'; '.join(missed)}")
    elif any(figure.bar for result in found.results for figure in result.figures):
        output.say()
        output.say("every bar is met")
