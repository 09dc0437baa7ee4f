"""How far the formulas are from what llama.cpp itself plans: weights and cache to the byte, scratch within a margin."""

import logging
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.gguf_models import random_bert
from support.gguf_shapes import MODELS
from support.quote_desk import MIB, Desk
from support.quoter_process import LLAMA_8B, sparse_llama, windowed
from vramd_common.load_settings import LoadOptions
from vramd_supervisor.domain.device_view import HOST
from vramd_supervisor.domain.quote import Source
from vramd_supervisor.files.gguf_header import read_header
from vramd_supervisor.quoting.closed_form import quote

pytest.importorskip("llama_cpp")
if platform.system() != "Linux":
    pytest.skip("llama.cpp's own count can be read on Linux alone", allow_module_level=True)

GPU = "gpu0"
SHAPES: dict[str, Callable[[Path], Path]] = {
    **MODELS,
    "wide bert": lambda path: random_bert(path, embedding=256, context=512),
    "windowed": windowed,
    "8b": lambda path: sparse_llama(path, LLAMA_8B),
}
SETTINGS: dict[str, tuple[str, LoadOptions]] = {
    "whole": (GPU, LoadOptions(context_tokens=8192)),
    "whole q8_0": (GPU, LoadOptions(context_tokens=32768, kv_type="q8_0", parallel=1)),
    "no flash": (GPU, LoadOptions(context_tokens=4096, flash_attention="off", swa_full=True)),
    "split, all": (GPU, LoadOptions(context_tokens=4096, kv_split=True, outputs="all")),
    "half": (GPU, LoadOptions(context_tokens=16384, gpu_layers=2, parallel=1)),
    "half q8_0": (GPU, LoadOptions(context_tokens=32768, gpu_layers=2, kv_type="q8_0", parallel=1)),
    "half, short": (GPU, LoadOptions(context_tokens=512, gpu_layers=2)),
    "half, small": (GPU, LoadOptions(context_tokens=512, gpu_layers=2, ubatch_tokens=16)),
    "host": (HOST, LoadOptions(context_tokens=2048)),
    "host q8_0": (HOST, LoadOptions(context_tokens=8192, kv_type="q8_0")),
}
ENCODERS = {"bert": 64, "wide bert": 512}
"""What they were trained for: a longer input does not exist."""

MOST_PADDING_BYTES = 128 + 512 * 34 // 32
"""Of one tensor on a card: it is aligned, and its last row filled up."""
MOST_MISSING_BYTES = 16 << 10
"""Of the scratch: small inputs of the graph, which the margin covers where there is any scratch to speak of."""
MOST_SHARE = 0.13
"""Of the scratch that is too much, where the formulas claim to be exact before their margin (12 %)."""
DENSE = ("one head for all", "heads of their own", "large vocabulary", "Q8_0", "Q4_0", "gemma3", "8b")


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, str]]]:
    """Errors by shape and setting, printed at the end."""
    errors: dict[str, dict[str, str]] = {}
    yield errors
    print("\nscratch by the formulas against the dry run, in per cent: card, host")
    print(f"{'':22}" + "".join(f"{setting:>14}" for setting in SETTINGS))
    for shape, row in errors.items():
        print(f"{shape:22}" + "".join(f"{row.get(setting, '-'):>14}" for setting in SETTINGS))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_formulas_are_near_the_dry_run(
    quotes: Desk, folder: Path, table: dict[str, dict[str, str]], shape: str
) -> None:
    path = SHAPES[shape](folder / f"{shape}.gguf")
    tensors = len(read_header(path).tensors)
    row = table.setdefault(shape, {})
    for setting, (device, options) in SETTINGS.items():
        if shape in ENCODERS and options.kv_type:
            continue
        context_tokens = ENCODERS.get(shape, options.context_tokens)
        settings = quotes.settings(path, device, replace(options, context_tokens=context_tokens))
        file = quotes.file(path)
        real = quotes.dry_run(path, settings)
        found = quote(file, settings, 0)
        assert found.source is Source.CLOSED_FORM
        assert found.devices.keys() == real.keys()
        errors = []
        for place in sorted(real):
            need, truth = found.devices[place], real[place]
            assert need.context_bytes == truth.context_bytes, (setting, place)
            over_bytes = need.weights_bytes - truth.weights_bytes
            assert 0 <= over_bytes <= (place == HOST) * tensors * MOST_PADDING_BYTES, (setting, place)
            over = need.compute_bytes / truth.compute_bytes - 1
            seen = (setting, place, need.compute_bytes / MIB, truth.compute_bytes / MIB)
            assert need.compute_bytes >= truth.compute_bytes - MOST_MISSING_BYTES, seen
            if shape in DENSE and place == device and not setting.startswith("half"):
                assert over <= MOST_SHARE, seen
            errors.append(over)
        row[setting] = " ".join(f"{100 * error:+.0f}" for error in errors)


def test_what_the_formulas_add_for_strange_models_is_bounded(quotes: Desk, folder: Path) -> None:
    """Even of models this small, which are hardly more than scratch, they make less than twice as much."""
    for shape in ("llama of experts", "qwen2moe", "deepseek2", "mamba", "jamba", "lfm2"):
        path = MODELS[shape](folder / f"again {shape}.gguf")
        settings = quotes.settings(path, GPU, LoadOptions(context_tokens=8192))
        [need] = [need for place, need in quote(quotes.file(path), settings, 0).devices.items() if place == GPU]
        real = quotes.dry_run(path, settings)[GPU]
        assert need.engine_bytes <= 1.75 * real.engine_bytes


def test_a_helper_that_is_killed_costs_one_dry_run(
    quotes: Desk, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The formulas answer for it, and say so; then there is another one."""
    path = MODELS["tied"](folder / "killed.gguf")
    settings = quotes.settings(path, GPU, LoadOptions(context_tokens=7936))
    assert quotes.quote(path, replace(settings, context_tokens=7680)).source is Source.DRY_RUN
    pid = quotes.helper_pid
    psutil.Process(pid).kill()
    found = quotes.quote(path, settings)
    assert found.source is Source.CLOSED_FORM
    assert found.devices == quote(quotes.file(path), settings, 0).devices
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "memory is computed by formulas, for it gave no answer" in line
    assert quotes.quote(path, settings).source is Source.DRY_RUN
    assert quotes.helper_pid != pid
