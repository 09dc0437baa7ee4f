"""`vramd simulate CONFIG TRAFFIC`: what a configuration would do with a traffic.

Needs no supervisor, no card and no model but those files that the configuration names. The same files and the same seed
give the same report.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..core.actions import Action
from ..core.events import Event
from ..domain.catalog import Model
from ..domain.config import Config, Size
from ..files.discovery import Discovery
from ..settings.listing import catalogue
from ..settings.settings_file import Flags, load_config
from .figures import Figures
from .machine import IDLE_WORKER_BYTES, VirtualMachine, build
from .recorder import Header, Recorder
from .report import report
from .traffic import Traffic, TrafficError, read_traffic
from .virtual_world import VirtualWorld


def simulate_files(
    config_file: Path,
    traffic_file: Path,
    sizes: Mapping[str, Size],
    *,
    seed: int | None = None,
    png: Path | None = None,
    record: Path | None = None,
) -> dict[str, object]:
    """Runs the traffic and reports; `sizes` are those of devices, `png` receives the timeline, `record` all events.

    Raises ConfigError and TrafficError, and OSError if a picture or a recording cannot be written.
    """
    config = load_config(config_file, {}, Flags())
    traffic = read_traffic(traffic_file)
    folder = config_file.absolute().parent
    models = catalogue(config, *Discovery(config, folder, os.environ, Path.home()).look({}))
    machine = build(config, sizes, traffic.machine, traffic.models)
    _check(traffic, machine, models)
    traffic = traffic if seed is None else replace(traffic, seed=seed)
    figures = simulate(config, traffic, machine, models, record)
    if png:
        from .picture import draw  # noqa: PLC0415  matplotlib is in another extra

        draw(figures, traffic.duration_s, f"{config_file.name}, {traffic_file.name}, seed {traffic.seed}", png)
    files = {"config": str(config_file), "traffic": str(traffic_file)}
    return {**files, "seed": traffic.seed, **report(figures, traffic.duration_s)}


def simulate(
    config: Config, traffic: Traffic, machine: VirtualMachine, models: Mapping[str, Model], record: Path | None = None
) -> Figures:
    """Runs it from start to end. Raises OSError if the recording cannot be begun."""
    header = Header.of(config, machine.accounts, machine.cores, IDLE_WORKER_BYTES)
    core = header.core()
    figures = Figures()
    with ExitStack() as stack:
        handle = core.handle
        if record:
            handle = Recorder(
                header, core.handle, stack.enter_context(record.open("w", encoding="utf-8", newline="\n"))
            ).handle

        def watched(event: Event) -> list[Action]:
            actions = handle(event)
            figures.take_in(event, actions)
            return actions

        VirtualWorld(traffic, machine, models, config, watched).run()
    return figures


def _check(traffic: Traffic, machine: VirtualMachine, models: Mapping[str, Model]) -> None:
    """Names in the traffic that mean nothing here. Raises TrafficError."""
    for number, stream in enumerate(traffic.stream, 1):
        if stream.model not in models:
            raise TrafficError(f"stream {number}: there is no model {stream.model}, only {', '.join(models)}")
    for id_ in machine.speeds:
        if id_ not in models:
            raise TrafficError(f"models: there is no model {id_}, only {', '.join(models)}")
    for number, program in enumerate(traffic.program, 1):
        if program.device not in machine.accounts:
            raise TrafficError(
                f"program {number}: there is no device {program.device}, only {', '.join(machine.accounts)}"
            )
