"""The one command: generated code fresh, format, lint, types, tests. Ends at the first that fails.

`--long` adds the tests that are marked long. What else stands on the command line goes to pytest.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLATFORMS: tuple[list[str], ...] = ([], ["--platform", "win32"], ["--platform", "darwin"], ["--python-version", "3.10"])


def step(name: str, *command: str) -> None:
    began = time.monotonic()
    print(f"-- {name}: {' '.join(command)}", flush=True)
    if code := subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode:
        sys.exit(f"-- {name} failed ({code})")
    print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    arguments = sys.argv[1:]
    marks = [] if "--long" in arguments else ["-m", "not long"]
    step("generated code", "proto/generate.py", "--check")
    step("format", "-m", "ruff", "format", "--check", ".")
    step("lint", "-m", "ruff", "check", ".")
    for platform in PLATFORMS:
        step("types", "-m", "mypy", *platform)
    step("tests", "-m", "pytest", *marks, *(argument for argument in arguments if argument != "--long"))


if __name__ == "__main__":
    main()
