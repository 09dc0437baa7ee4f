"""A real supervisor on a virtual card that it takes for one by NVIDIA: the driver is the card's ledger folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import vramd
from support.supervisor_process import SupervisorProcess
from support.virtual_gpu import Card, build

MIB = 1 << 20
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Carded:
    """The supervisor, its card, and a client."""

    supervisor: SupervisorProcess
    card: Card
    client: vramd.Client

    def resident(self) -> list[str]:
        return [model.model for model in self.client.resident() if model.state == "READY"]


def nvidia(folder: Path, plug_ins: Path, total_mib: int, context_mib: int = 8) -> tuple[Card, dict[str, str]]:
    """A virtual card in this folder, and the environment in which it is one by NVIDIA."""
    card, environment = virtual(folder, plug_ins, total_mib, context_mib, as_cuda=True)
    paths = os.pathsep.join((str(TESTS / "support" / "ledger_nvml"), str(TESTS)))
    return card, {**environment, "PYTHONPATH": paths}


def virtual(
    folder: Path, plug_ins: Path, total_mib: int, context_mib: int, *, as_cuda: bool
) -> tuple[Card, dict[str, str]]:
    (folder / "card").mkdir()
    plug_in = folder / "libggml-cuda.so"
    plug_in.symlink_to(build(plug_ins))
    card = Card(folder / "card", (total_mib * MIB,), context_mib * MIB, as_cuda)
    return card, {**card.environment(plug_in)}


@contextmanager
def carded(
    folder: Path,
    plug_ins: Path,
    total_mib: int,
    configuration: str = "",
    *,
    models: Path,
    context_mib: int = 8,
    as_cuda: bool = True,
) -> Iterator[Carded]:
    """`total_mib` are the card's, `context_mib` what its driver takes for each process; `models` is a folder.

    Without `as_cuda` the card is known to llama.cpp alone, as one of Vulkan or Metal is, and called vgpu0.
    """
    if as_cuda:
        card, environment = nvidia(folder, plug_ins, total_mib, context_mib)
    else:
        card, environment = virtual(folder, plug_ins, total_mib, context_mib, as_cuda=False)
    arguments = ("--port", "0", "--models", str(models))
    with SupervisorProcess(configuration, environment=environment, arguments=arguments) as supervisor:
        yield Carded(supervisor, card, supervisor.client())
