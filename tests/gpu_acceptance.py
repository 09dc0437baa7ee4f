"""What vramd promises on an NVIDIA card, beside what the card's driver shows. For a machine that has one:

    python tests/gpu_acceptance.py [--build] [--out FILE]

`--build` first makes llama-cpp-python for CUDA, in an environment of its own under build/. Ends with 0 where there is
no such card, and with 1 if anything is not as promised. Takes nine minutes at most: what is not reached by then failed.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import cast

import psutil
import vramd
from support.cuda_environment import made
from support.driver_card import Card, Driver, in_words
from support.gguf_models import Shape, random_llama
from support.gguf_shapes import MODELS
from support.supervisor_process import SupervisorProcess, until
from vramd import LoadSettings
from vramd_supervisor.devices.nvml import load_nvml

MIB = 1 << 20
LIMIT_S = 8.5 * 60
CALL_S = 60.0
RELEASE_S = 10.0
LOOK_EVERY_S = 0.002
SLACK_BYTES = 16 * MIB
"""Drivers give memory in pages of 2 MiB, and other programs move."""
RELEASES = 100
ROOT = Path(__file__).parents[1]

WIDE = Shape(embedding=1024, layers=8, heads=16, kv_heads=4, feed_forward=2816, vocabulary=32_000)
SHAPES: Mapping[str, Callable[[Path], Path]] = {
    "wide llama": lambda path: random_llama(path, WIDE),
    **{
        name: MODELS[name]
        for name in (
            "one head for all",
            "heads of their own",
            "large vocabulary",
            "Q8_0",
            "Q4_0",
            "tied",
            "gemma3",
            "llama of experts",
            "qwen2moe",
        )
    },
}
"""The first is loaded for the releases: it takes enough to be seen."""
SETTINGS: Sequence[LoadSettings] = (
    {},
    {"kv_type": "q8_0"},
    {"context": 512, "ubatch": 128, "outputs": "all"},
    {"gpu_layers": 1},
)


@dataclass(frozen=True)
class Row:
    shape: str
    settings: str
    engine_bytes: int = 0
    process_bytes: int = 0
    measured_bytes: int = 0
    told_by: str = ""
    problem: str = ""

    def cells(self) -> list[str]:
        if not self.told_by:
            return [self.shape, self.settings, "", "", "", "", "", self.problem]
        difference_bytes = self.measured_bytes - self.engine_bytes - self.process_bytes
        sizes = (self.engine_bytes, self.process_bytes, self.measured_bytes)
        return [
            self.shape,
            self.settings,
            *map(_mib, sizes),
            f"{difference_bytes / MIB:+.1f}",
            self.told_by,
            self.problem,
        ]


@dataclass(frozen=True)
class World:
    """A supervisor that runs, and its card."""

    client: vramd.Client
    card: Card
    device: str
    end_s: float
    """When all must be over; of the clock of `time.monotonic`."""

    def check_time(self) -> None:
        if time.monotonic() > self.end_s:
            raise TimeoutError("the time is over")

    @property
    def call_s(self) -> float:
        """What a call may take."""
        return max(1.0, min(CALL_S, self.end_s - time.monotonic()))

    def on_card(self, settings: LoadSettings) -> LoadSettings:
        """There or nowhere, and as they are."""
        return {**settings, "device": self.device, "degrade": False}

    def load(self, shape: str, settings: LoadSettings) -> int:
        """The process id."""
        loaded = self.client.load(model_id(shape), timeout_s=self.call_s, **self.on_card(settings))
        assert loaded.pid is not None
        return loaded.pid

    def unload(self, shape: str) -> None:
        self.client.unload(model_id(shape), force=True, timeout_s=self.call_s)

    def clear(self, shape: str) -> str:
        """Unloads what a failure has left; what has gone wrong with that, in words."""
        try:
            if self.client.model(model_id(shape)).resident is not None:
                self.unload(shape)
        except vramd.VramdError as error:
            return f"; then {error}"
        return ""

    def await_unloaded(self, shape: str) -> None:
        model = model_id(shape)
        until(f"{model} is gone", lambda: self.client.model(model).state == "UNLOADED")

    def await_free(self, at_least_bytes: int) -> float:
        """Seconds until so much is free. Raises TimeoutError."""
        began_s = time.perf_counter()
        while (free_bytes := self.card.free_bytes) < at_least_bytes:
            if time.perf_counter() > began_s + RELEASE_S:
                missing = _mib(at_least_bytes - free_bytes)
                raise TimeoutError(f"{missing} MiB more than allowed are still taken after {RELEASE_S:g} s")
            time.sleep(LOOK_EVERY_S)
        return time.perf_counter() - began_s


def model_id(shape: str) -> str:
    return shape.replace(" ", "-")


def planned_and_taken(world: World, shape: str, settings: LoadSettings) -> Row:
    """Raises whatever goes wrong."""
    world.check_time()
    model, words = model_id(shape), _words(settings)
    before_bytes = world.card.free_bytes
    plan = world.client.plan(model, timeout_s=world.call_s, **world.on_card(settings))
    if not plan.fits:
        return Row(shape, words, problem=f"it does not fit: {plan.message}")
    (need,) = (need for need in plan.quote.devices if need.id == world.device)
    pid = world.load(shape, settings)
    assert world.client.generate(model, "", max_tokens=4, temperature=0, timeout_s=world.call_s).finish is not None
    told_bytes = world.card.process_bytes(pid)
    measured_bytes = before_bytes - world.card.free_bytes if told_bytes is None else told_bytes
    world.unload(shape)
    world.await_free(before_bytes - SLACK_BYTES)
    engine_bytes = need.total_bytes - need.process_bytes
    problems = []
    if plan.quote.source != "dry_run":
        problems.append(f"the plan is by {plan.quote.source}")
    if measured_bytes > need.total_bytes + SLACK_BYTES:
        problems.append("more than promised")
    if measured_bytes < engine_bytes:
        problems.append("less than llama.cpp is said to take")
    told_by = "free memory" if told_bytes is None else "process"
    return Row(shape, words, engine_bytes, need.process_bytes, measured_bytes, told_by, "; ".join(problems))


def attempted(world: World, shape: str, settings: LoadSettings) -> Row:
    """A load that fails, in whatever way, is a row too: the rest goes on."""
    try:
        return planned_and_taken(world, shape, settings)
    except Exception as error:
        return Row(shape, _words(settings), problem=f"{str(error) or repr(error)}{world.clear(shape)}")


def released(world: World, shape: str, kill: bool) -> float:
    """Seconds from the end's beginning until the memory is back. Raises whatever goes wrong."""
    world.check_time()
    before_bytes = world.card.free_bytes
    pid = world.load(shape, {})
    taken_bytes = before_bytes - world.card.free_bytes
    assert taken_bytes > 2 * SLACK_BYTES, f"{shape} takes {_mib(taken_bytes)} MiB only: its end cannot be seen"
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(psutil.Process(pid).kill) if kill else pool.submit(world.unload, shape)
        taken_s = world.await_free(before_bytes - SLACK_BYTES)
        ending.result()
    world.await_unloaded(shape)
    return taken_s


def releases(world: World, shape: str, times: int) -> tuple[list[list[str]], list[str]]:
    """Rows of a table, by how the process was ended, and what went wrong."""
    start_bytes = world.card.free_bytes
    taken_s: dict[str, list[float]] = {"kill -9": [], "unload": []}
    problems = []
    for number in range(times):
        how = "unload" if number % 2 else "kill -9"
        try:
            taken_s[how].append(released(world, shape, kill=how == "kill -9"))
        except Exception as error:  # as above
            problems.append(f"{how}, {number + 1} of {times}: {str(error) or repr(error)}{world.clear(shape)}")
            if time.monotonic() > world.end_s:
                break
    lost_bytes = start_bytes - world.card.free_bytes
    if lost_bytes > SLACK_BYTES:
        problems.append(f"{_mib(lost_bytes)} MiB less are free than before the first load")
    rows = [[how, str(len(values)), *map(_ms, spread(values))] for how, values in taken_s.items() if values]
    return rows, problems


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile (nearest rank), and most."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1]


def accept(driver: Driver, shapes: Sequence[str], times: int, out: Path | None, end_s: float) -> int:
    """Measures, prints and writes; the exit code."""
    with running(shapes) as client:
        found = _card(driver, client, model_id(shapes[0]))
        if isinstance(found, str):
            print(f"vramd cannot use the card: {found}")
            return 1
        world = World(client, found[0], found[1], end_s)
        name = next(device.name for device in client.devices() if device.id == world.device)
        rows = [attempted(world, shape, settings) for shape, settings in product(shapes, SETTINGS)]
        ends, problems = releases(world, shapes[0], times)
    text = "\n".join(
        [
            f"{name}, driver {in_words(driver.nvmlSystemGetDriverVersion())}, "
            f"llama-cpp-python {version('llama-cpp-python')}, vramd {version('vramd')}. Sizes in MiB.",
            "",
            *_table(
                ("shape", "settings", "engine", "process", "measured", "difference", "told by", ""),
                map(Row.cells, rows),
            ),
            "",
            f"From the end's beginning until all but {_mib(SLACK_BYTES)} MiB are free again, in ms:",
            "",
            *_table(("end", "times", "p50", "p95", "max"), ends),
            *("", *(f"* {problem}" for problem in problems)),
        ]
    )
    print(text)
    if out is not None:
        out.write_text(f"{text.rstrip()}\n", "utf-8")
    return int(bool(problems) or any(row.problem for row in rows))


@contextmanager
def running(shapes: Sequence[str]) -> Iterator[vramd.Client]:
    """A supervisor that knows these shapes, and has learned nothing yet."""
    with tempfile.TemporaryDirectory(prefix="vg") as folder:
        models, state = Path(folder, "models"), Path(folder, "state")
        models.mkdir()
        for shape in shapes:
            SHAPES[shape](models / f"{model_id(shape)}.gguf")
        arguments = ("--port", "0", "--models", str(models))
        # Where a machine has no index of packages, they may lie anywhere.
        paths = {name: os.environ[name] for name in ("PYTHONPATH", "VRAMD_WORKER_ENVIRONMENT") if name in os.environ}
        environment = {**paths, "VRAMD_STATE_DIR": str(state)}
        with SupervisorProcess(environment=environment, arguments=arguments) as supervisor:
            yield supervisor.client()


def _card(driver: Driver, client: vramd.Client, model: str) -> tuple[Card, str] | str:
    """The first card that can be used, with its id; else why there is none."""
    client.plan(model, timeout_s=CALL_S)  # from now on it is known what llama.cpp was built for
    devices = [device for device in client.devices() if device.kind == "nvidia"]
    usable = next((device for device in devices if device.unusable is None), None)
    if usable is None:
        return "; ".join(f"{device.id}: {device.unusable}" for device in devices) or "it sees none"
    for index in range(driver.nvmlDeviceGetCount()):
        handle = driver.nvmlDeviceGetHandleByIndex(index)
        if in_words(driver.nvmlDeviceGetUUID(handle)) == usable.uuid:
            return Card(driver, handle), usable.id
    return f"the driver knows no {usable.uuid}"


def main(arguments: Sequence[str], shapes: Sequence[str] = tuple(SHAPES)) -> int:
    end_s = time.monotonic() + LIMIT_S
    parser = argparse.ArgumentParser(description="vramd's promises on an NVIDIA card, beside what its driver shows")
    parser.add_argument("--build", action="store_true", help="first make llama-cpp-python for CUDA")
    parser.add_argument("--out", type=Path, help="file for the tables, as Markdown")
    parser.add_argument("--releases", type=int, default=RELEASES, help="how often memory is given back")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds that all may take")
    told = parser.parse_args(arguments)
    end_s += told.limit_s - LIMIT_S
    nvml = load_nvml()
    if nvml is None or not nvml.nvmlDeviceGetCount():
        print("skipped: no NVIDIA card answers")
        return 0
    if not told.build:
        return accept(cast(Driver, nvml), shapes, told.releases, told.out, end_s)
    try:
        python = made(ROOT / "build" / "gpu_acceptance", end_s - time.monotonic())
    except (subprocess.CalledProcessError, TimeoutError) as error:
        print(f"llama-cpp-python for CUDA could not be made: {error}")
        return 1
    again = [str(python), __file__, "--releases", str(told.releases), "--limit-s", str(end_s - time.monotonic())]
    return subprocess.run([*again, *(("--out", str(told.out)) if told.out else ())], check=False).returncode


def _table(heads: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _words(settings: LoadSettings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "defaults"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
