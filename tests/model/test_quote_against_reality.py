"""What a quote says is what a worker then takes, to the byte: two processes that know nothing of each other.

The quote comes from the helper, over a skeleton and for a card that does not exist. The truth comes from a worker that
loads the model and computes a batch: by llama.cpp's own count in it, and by the books of the virtual card, which counts
what is taken of it. Each shape of a model is loaded with some of the settings, so that every setting meets every kind.
"""

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from support.gguf_shapes import MODELS
from support.quote_desk import KINDS, MIB, Desk
from support.quoter_process import Quoter
from support.virtual_gpu import Card, build
from support.worker_process import WorkerProcess
from vramd_common import wire_values
from vramd_common.load_settings import LoadOptions, Settings
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import load_pb2
from vramd_supervisor.domain.device_view import HOST
from vramd_supervisor.domain.quote import DeviceBytes
from vramd_worker.llama import LlamaSpec

pytest.importorskip("llama_cpp")
if platform.system() != "Linux":
    pytest.skip("llama.cpp's own count can be read on Linux alone", allow_module_level=True)

GPU = "gpu0"
TOLERANCE_BYTES = int(0.02 * MIB)
LOAD_S = 60.0


@dataclass(frozen=True)
class Case:
    """A way to load a model."""

    name: str
    device: str
    options: LoadOptions


CASES = (
    Case("whole", GPU, LoadOptions(context_tokens=8192)),
    Case("half", GPU, LoadOptions(context_tokens=2048, gpu_layers=2)),
    Case("host", HOST, LoadOptions(context_tokens=512)),
    Case("q8_0", GPU, LoadOptions(context_tokens=32768, kv_type="q8_0", ubatch_tokens=128, parallel=1)),
    Case("no flash", GPU, LoadOptions(context_tokens=4096, flash_attention="off", swa_full=True, outputs="all")),
    Case("half q8_0", GPU, LoadOptions(context_tokens=4096, kv_type="q8_0", gpu_layers=2, batch_tokens=64, parallel=2)),
    Case("split", GPU, LoadOptions(context_tokens=1024, kv_split=True, gpu_layers=1, parallel=2)),
    Case("host q8_0", HOST, LoadOptions(context_tokens=16384, kv_type="q8_0", kv_split=True)),
)
CASES_EACH = 3
NO_BLOCKS = frozenset({"bert"})
"""Shapes whose heads are shorter than a block of q8_0."""


def cases() -> Iterator[tuple[str, Case]]:
    """The settings in turn, so that each is used as often as any other."""
    at = 0
    for shape in MODELS:
        chosen = 0
        while chosen < CASES_EACH:
            case = CASES[at % len(CASES)]
            at += 1
            if is_possible(shape, case):
                chosen += 1
                yield shape, case


def is_possible(shape: str, case: Case) -> bool:
    return not (shape in NO_BLOCKS and case.options.kv_type == "q8_0")


ALL = list(cases())


@pytest.fixture(scope="module")
def full_files() -> Iterator[Quoter]:
    """A helper that is asked about the models themselves."""
    one = Quoter()
    yield one
    assert one.end() == 0


@pytest.fixture(scope="module")
def plug_in(plug_ins: Path) -> Path:
    return build(plug_ins)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Lines that are printed at the end."""
    lines: list[str] = []
    yield lines
    print(f"\n{'shape':22}{'setting':11}{'device':8}{'weights':>10}{'context':>10}{'compute':>10}  MiB taken, off by")
    print("\n".join(lines))


def model_of(shape: str, folder: Path) -> Path:
    path = folder / f"{shape}.gguf"
    return path if path.exists() else MODELS[shape](path)


def loaded(path: Path, settings: Settings, card: Card, plug_in: Path) -> tuple[dict[str, DeviceBytes], int]:
    """What a worker says that it has taken, and what the card's books say that it has."""
    request = worker_pb2.WorkerLoadRequest(
        model="m",
        threads=1,
        llama=worker_pb2.LlamaModel(
            path=str(path),
            settings=wire_values.filled(load_pb2.Settings(), settings),
            devices=() if settings.device == HOST else ("VGPU0",),
            warm_up_batch=settings.device != HOST,
        ),
    )
    with WorkerProcess(environment=card.environment(plug_in)) as worker:
        worker.meet()
        *_, last = worker.stub.Load(request, metadata=worker.metadata, timeout=LOAD_S)
        taken_bytes = card.taken_bytes(worker.pid)
    memory = {
        GPU if one.device else HOST: DeviceBytes(one.weights_bytes, one.context_bytes, one.compute_bytes)
        for one in last.loaded.memory
    }
    assert len(memory) == len(last.loaded.memory) > 0
    return memory, taken_bytes


@pytest.mark.parametrize(("shape", "case"), ALL, ids=[f"{shape}-{case.name}" for shape, case in ALL])
def test_a_quote_is_what_a_worker_takes(
    quotes: Desk, folder: Path, tmp_path: Path, plug_in: Path, table: list[str], shape: str, case: Case
) -> None:
    path = model_of(shape, folder)
    settings = quotes.settings(path, case.device, case.options)
    quoted = quotes.dry_run(path, settings)
    card = Card(tmp_path, (4096 * MIB,), context_bytes=8 * MIB)
    real, taken_bytes = loaded(path, settings, card, plug_in)
    assert real.keys() == quoted.keys() == {case.device, HOST}
    for device, took in real.items():
        off = [getattr(quoted[device], kind) - getattr(took, kind) for kind in KINDS]
        sizes = "".join(f"{getattr(took, kind) / MIB:10.3f}" for kind in KINDS)
        table.append(f"{shape:22}{case.name:11}{device:8}{sizes}  {off}")
        assert max(map(abs, off)) <= TOLERANCE_BYTES, (device, took, quoted[device])
    if case.device == GPU:
        assert real[GPU].weights_bytes
        assert taken_bytes == real[GPU].engine_bytes + card.context_bytes
    else:
        assert taken_bytes == 0
    assert card.refused() == []


@pytest.mark.parametrize("gpu_layers", [1, 2])
@pytest.mark.parametrize("shape", ["mamba", "jamba", "lfm2"])
def test_a_state_partly_on_a_card_takes_what_its_sequences_alone_would(
    quotes: Desk, folder: Path, tmp_path: Path, plug_in: Path, shape: str, gpu_layers: int
) -> None:
    """llama.cpp plans recurrent layers for a batch that all sequences share equally. Where that is fewer than 32
    tokens for each, the card does not compute with the host's weights in the plan, and then does in a batch of one
    sequence, for which the scratch is enlarged. What that comes to, the plan for one sequence says.
    """
    path = model_of(shape, folder)
    settings = quotes.settings(path, GPU, LoadOptions(context_tokens=512, gpu_layers=gpu_layers, batch_tokens=64))
    assert settings.ubatch_tokens < 32 * settings.parallel
    card = Card(tmp_path, (4096 * MIB,), context_bytes=8 * MIB)
    real, taken_bytes = loaded(path, settings, card, plug_in)
    together = quotes.dry_run(path, settings)[GPU]
    alone = quotes.dry_run(path, replace(settings, parallel=1, outputs=1))[GPU]
    assert real[GPU] == replace(
        together, compute_bytes=max(together.compute_bytes, alone.compute_bytes), process_bytes=0
    )
    assert taken_bytes == real[GPU].engine_bytes + card.context_bytes


def test_every_setting_is_used() -> None:
    """A setting that meets no shape would be tested by nothing."""
    assert len(ALL) == CASES_EACH * len(MODELS)
    for case in CASES:
        assert sum(case is used for _, used in ALL) >= CASES_EACH


@pytest.mark.parametrize("shape", MODELS)
def test_the_skeleton_stands_for_the_file(quotes: Desk, full_files: Quoter, folder: Path, shape: str) -> None:
    path = model_of(shape, folder)
    assert quotes.skeleton(path).stat().st_size < path.stat().st_size
    for case in CASES:
        if is_possible(shape, case):
            same_answers(quotes, full_files, path, case)


def same_answers(quotes: Desk, full_files: Quoter, path: Path, case: Case) -> None:
    settings = quotes.settings(path, case.device, case.options)
    wanted = LlamaSpec(path=str(path), **asdict(settings))
    answer = full_files.plan(wanted, gpus=int(case.device == GPU))
    shape = quotes.file(path).shape
    if any(shape.state_bytes) and case.device == GPU and 0 <= settings.gpu_layers <= shape.layers:
        # Of a recurrent state that is partly on the host a quote counts the larger scratch: of many, or of one alone.
        alone = full_files.plan(replace(wanted, outputs=1, parallel=1), gpus=1)
        for many, one in zip((answer["host"], *answer["gpus"]), (alone["host"], *alone["gpus"]), strict=True):
            many["compute_bytes"] = max(many["compute_bytes"], one["compute_bytes"])
    of_skeleton = quotes.dry_run(path, settings)
    of_file = dict(zip(of_skeleton, (answer["host"], *answer["gpus"]), strict=True))
    assert of_file == {device: {kind: getattr(need, kind) for kind in KINDS} for device, need in of_skeleton.items()}
