"""The one command: generated code fresh, format, lint, types, tests. Every step runs; failures are reported at the end.

    python tests/check.py [fast | STEP...] [--long] [argument of pytest]...

Without a step, all of them run. `fast` is for before each commit: format, lint, one run of mypy, and the unit tests
that are not marked slow. `--long` adds the tests that are marked long, and draws new examples for those of hypothesis.
All other arguments go to pytest; where no step is named beside them, pytest runs once, on what they say.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTEST = ("-m", "pytest")
PARALLEL = ("-n", str(os.cpu_count() or 1), "--dist", "worksteal")
"""For tests that neither start supervisors nor compare the times of two processes."""
BY_FILE = (*PARALLEL[:2], "--dist", "loadfile")
"""For tests that do, and whose files may run beside each other: what they wait for is no time."""
STATIC: dict[str, tuple[str, ...]] = {
    "generated": ("proto/generate.py", "--check"),
    "generated-sync": ("clients/python/generate_sync.py", "--check"),
    "generated-csharp": ("clients/csharp/generate.py", "--check"),
    "format": ("-m", "ruff", "format", "--check", "."),
    "lint": ("-m", "ruff", "check", "."),
    "types": ("-m", "mypy"),
    "types-win32": ("-m", "mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32"),
    "types-darwin": ("-m", "mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin"),
    "types-3.10": ("-m", "mypy", "--python-version", "3.10", "--cache-dir", ".mypy_cache/3.10"),
}
TESTS: dict[str, tuple[str, ...]] = {
    "unit": (*PYTEST, "tests/unit", *PARALLEL),
    "process": (*PYTEST, "tests/process"),
    "model": (*PYTEST, "tests/model", *BY_FILE),
    "wire": (*PYTEST, "tests/wire"),
}
STEPS = STATIC | TESTS | {"unprivileged": ("tests/unprivileged.py",), "csharp": ("tests/csharp.py",)}
FAST = ("format", "lint", "types", "unit")


def chosen(arguments: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The steps that these arguments ask for, with their commands."""
    given = [argument for argument in arguments if argument != "--long"]
    names = []
    while given and given[0] in {"fast", *STEPS}:
        names.append(given.pop(0))
    marks, examples = ([], ("--hypothesis-profile", "random")) if "--long" in arguments else (["not long"], ())
    if "fast" in names:
        names = [*FAST, *(name for name in names if name not in {"fast", *FAST})]
        marks.append("not slow")
    steps = {name: STEPS[name] for name in names or STEPS}
    if given and not names:
        steps = STATIC | {"tests": PYTEST}
    more = (*(("-m", " and ".join(marks)) if marks else ()), *examples, *given)
    return {name: (*command, *more) if command[:2] == PYTEST else command for name, command in steps.items()}


def run(name: str, command: Sequence[str], *, kept: bool = False) -> tuple[str, int]:
    """Runs a step; returns what is to be printed after it, and its exit code. `kept` keeps its output until then."""
    began = time.monotonic()
    outputs = (subprocess.PIPE, subprocess.STDOUT) if kept else (None, None)
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=False, stdout=outputs[0], stderr=outputs[1], text=True
    )
    result = f"failed ({ended.returncode})" if ended.returncode else "passed"
    return f"{ended.stdout or ''}-- {name}: {result}, {time.monotonic() - began:.0f} s", ended.returncode


def run_all(steps: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Runs the steps and returns the names of those that failed. Static ones run beside each other, tests alone."""
    codes = {}
    with ThreadPoolExecutor(os.cpu_count()) as beside:
        static = {name: beside.submit(run, name, steps[name], kept=True) for name in steps if name in STATIC}
        for name, command in steps.items():
            if name not in static:
                wait(static.values())
            print(f"-- {name}: {' '.join(command)}", flush=True)
            told, codes[name] = static[name].result() if name in static else run(name, command)
            print(told, flush=True)
    return [name for name, code in codes.items() if code]


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(f"{__doc__}\nSteps: {', '.join(STEPS)}")
    if failed := run_all(chosen(sys.argv[1:])):
        sys.exit(f"-- failed: {', '.join(failed)}; one alone: python tests/check.py NAME")


if __name__ == "__main__":
    main()
