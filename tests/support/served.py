"""A supervisor of any installation: `vramd serve` run by the command, in the folder and with the environment given."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vramd_proto.v1.rendezvous import RuntimeDir

BOUND_S = 30.0
"""Nothing here takes this long, unless it hangs."""

MODULE = (sys.executable, "-m", "vramd")
"""The command line of the installation that runs the tests."""

SIMULATED = """
[devices.card]
kind = "virtual"
total = "8GiB"

[models.talker]
engine = "simulated"
memory = { card = "1GiB", host = "8MiB" }
tokens_per_s = 2000

[models.slow]
engine = "simulated"
memory = { card = "1GiB", host = "8MiB" }
tokens_per_s = 20
"""


def clean_environment(**more: str) -> dict[str, str]:
    """What this process has, less what would lead Python or vramd elsewhere."""
    strange = ("VRAMD_", "PYTHON", "COV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)} | more


@contextmanager
def served(
    folder: Path,
    config: str = SIMULATED,
    *,
    command: Sequence[str] = MODULE,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RuntimeDir]:
    """The runtime folder of a supervisor that listens; gone when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vramd.toml"
    file.write_text(config, "utf-8")
    runtime = RuntimeDir(folder / "run")
    log = folder / "stderr"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "serve", "--config", str(file), "--port", "0", "--runtime-dir", str(runtime.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd or folder,
            env=clean_environment() if environment is None else dict(environment),
        )
    assert process.stdout is not None
    with process.stdout as output:
        try:
            said = _first_line(output)
            assert "listens on" in said, f"{said!r}; stderr: {log.read_text('utf-8', 'replace')}"
            yield runtime
        finally:
            _end(process)


def _first_line(output: IO[bytes]) -> str:
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: lines.put(output.readline()), daemon=True).start()
    try:
        return lines.get(timeout=BOUND_S).decode()
    except queue.Empty:
        return f"nothing within {BOUND_S:g} s"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(BOUND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(BOUND_S)
        raise
