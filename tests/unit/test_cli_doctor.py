"""`vramd doctor` and `vramd estimate`, each in a process of its own, on made-up machines."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.command_line import CONSOLE, TERMINAL, posix, run
from support.gguf_bytes import llama
from vramd_common.rendezvous import Address, RuntimeDir

MIB = 1 << 20

NO_LIBRARY = "raise ImportError('there is no such thing here')"
ONE_CARD = """
import types

class NVMLError(Exception):
    value = 3

def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(card): return "GPU-1"
def nvmlDeviceGetName(card): return "Fake 4090"
def nvmlDeviceGetPciInfo(card): return types.SimpleNamespace(busId="00000000:01:00.0")
def nvmlDeviceGetMemoryInfo(card): return types.SimpleNamespace(total=8188 << 20, free=7000 << 20)
def nvmlDeviceGetTemperature(card, sensor): return 40
def nvmlDeviceGetUtilizationRates(card): return types.SimpleNamespace(gpu=1)
def nvmlSystemGetDriverVersion(): return "550.54"
def unsupported(*_): raise NVMLError
nvmlDeviceGetMigMode = nvmlDeviceGetComputeRunningProcesses = nvmlDeviceGetGraphicsRunningProcesses = unsupported
"""

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Shell = Callable[..., Done]


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """What lies here is imported before what is installed."""
    return tmp_path / "stand-ins"


@pytest.fixture
def shell(tmp_path: Path, stand_ins: Path) -> Shell:
    """The command as a process of its own. Neither a card of this machine nor its settings count."""

    def call(*arguments: str, console: Sequence[str] = CONSOLE, cwd: Path | None = None, **more: str) -> Done:
        return run(tmp_path / "run", *console, *arguments, cwd=cwd, **{"PYTHONPATH": str(stand_ins), **more})

    return call


@pytest.fixture
def machine(stand_ins: Path) -> Callable[..., None]:
    """Stands in for the libraries that tell of cards and of llama.cpp."""

    def make(nvml: str, *backends: str) -> None:
        """Without backends there is no llama.cpp."""
        binding = stand_ins / "llama_cpp"
        (binding / "lib").mkdir(parents=True)
        (stand_ins / "pynvml.py").write_text(nvml)
        (binding / "__init__.py").write_text('__version__ = "0.3.36"\n')
        (binding / "llama_cpp.py").write_text("" if backends else NO_LIBRARY)
        for backend in backends:
            (binding / "lib" / f"libggml-{backend}.so").touch()

    return make


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "small.gguf").write_bytes(llama(2))
    (folder / "large.gguf").write_bytes(llama(3))
    (folder / "broken.gguf").write_bytes(llama()[:100])
    return folder


def told(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def line(document: dict[str, Any], what: str) -> dict[str, str]:
    (found,) = (line for line in document["lines"] if line["what"] == what)
    return {str(key): str(value) for key, value in found.items()}


def test_without_a_card_and_without_llama(shell: Shell, machine: Callable[..., None], models: Path) -> None:
    machine(NO_LIBRARY)
    document = told(shell("doctor", "--json", "--models", str(models)))
    assert list(document) == ["facts", "first", "lines"]
    assert document["facts"]["cards"] == []
    engine = line(document, "llama-cpp-python")
    assert (engine["verdict"], engine["found"], engine["get"]) == ("bad", "not installed", "pip install 'vramd[llama]'")
    assert "there is no such thing here" in engine["why"]
    assert (document["first"]["model"], document["first"]["device"]) == ("large", "host")
    assert document["first"]["comfortable"]
    damaged = line(document, "broken")
    assert damaged["verdict"] == "bad"
    assert damaged["why"]
    host = document["facts"]["host"]
    assert host["ram_total_bytes"] > host["ram_available_bytes"] > 0
    assert int(line(document, "threads")["found"]) >= 1
    assert {entry["verdict"] for entry in document["lines"]} <= {"ok", "warn", "bad"}


def test_a_card_under_a_build_for_the_cpu_only(shell: Shell, machine: Callable[..., None], models: Path) -> None:
    machine(ONE_CARD, "cpu")
    document = told(shell("doctor", "--json", "--models", str(models)))
    card = line(document, "gpu0")
    assert card["verdict"] == "bad"
    assert card["found"] == "Fake 4090: 8.00 GiB, 6.84 GiB of it free"
    assert "without CUDA" in card["why"]
    assert card["get"].startswith("pip install ")
    assert "/whl/cu" in card["get"]
    assert document["first"]["device"] == "host"
    assert line(document, "NVIDIA driver")["found"] == "550.54"
    assert line(document, "profile of gpu0")["found"] == "performance: all layers, batch 512"
    assert line(document, "llama-cpp-python")["found"] == "0.3.36 (cpu)"


def test_a_card_that_can_be_used_is_taken_first(shell: Shell, machine: Callable[..., None], models: Path) -> None:
    machine(ONE_CARD, "cpu", "cuda")
    document = told(shell("doctor", "--json", "--models", str(models)))
    assert line(document, "gpu0")["verdict"] == "ok"
    assert (document["first"]["model"], document["first"]["device"]) == ("large", "gpu0")
    assert document["first"]["needs"]["gpu0"] < document["facts"]["free"]["gpu0"] < 7000 * MIB


def test_what_the_configuration_says_of_models_counts(
    shell: Shell, machine: Callable[..., None], models: Path, tmp_path: Path
) -> None:
    machine(ONE_CARD, "cpu", "cuda")
    (models / "vectors.gguf").write_bytes(llama(9, {"llama.pooling_type": 1}))
    (tmp_path / "vramd.toml").write_text(
        '[server]\nmodels = ["models"]\n'
        '[models.elsewhere]\npath = "models/large.gguf"\ndevice = "gpu7"\n'
        '[models.small]\ndevice = "host"\n'
        "[models.again]\npath = 'models/small.gguf'\ngpu_layers = 0\n"
        '[models.trial]\nengine = "simulated"\nmemory = { host = "1MiB" }\n'
    )
    document = told(shell("doctor", "--json", VRAMD_CONFIG=str(tmp_path / "vramd.toml")))
    found = {model["id"]: model for model in document["facts"]["models"]}
    ways = {id_: [way["device"] for way in model["ways"]] for id_, model in found.items()}
    assert ways == {"again": ["host"], "broken": [], "elsewhere": [], "small": ["host"], "vectors": ["gpu0", "host"]}
    assert line(document, "elsewhere")["why"] == "it is configured for gpu7, which cannot be used"
    assert {id_ for id_, model in found.items() if not model["generates"]} == {"vectors"}
    assert document["first"]["device"] == "host"


def test_no_models_and_a_folder_that_is_not_there(shell: Shell, machine: Callable[..., None], tmp_path: Path) -> None:
    machine(NO_LIBRARY, "cpu")
    (tmp_path / "vramd.toml").write_text('[server]\nmodels = ["nowhere"]\n')
    done = shell("doctor", VRAMD_CONFIG=str(tmp_path / "vramd.toml"))
    assert done.returncode == 0, done.stderr
    assert "\n  warn  take first  none [none was found]\n" in done.stdout
    assert "  take first: vramd serve --models DIR\n" in done.stdout
    assert f"cannot look for models in {tmp_path / 'nowhere'}" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_supervisor_that_runs_is_seen(shell: Shell, machine: Callable[..., None], tmp_path: Path) -> None:
    machine(NO_LIBRARY)
    (tmp_path / "elsewhere").mkdir()
    Address("127.0.0.1:5", os.getpid(), "9.9").write(RuntimeDir(tmp_path / "elsewhere").address_file)
    document = told(shell("doctor", "--json", "--runtime-dir", str(tmp_path / "elsewhere")))
    assert f"vramd 9.9 at 127.0.0.1:5, pid {os.getpid()}" in line(document, "running")["found"]
    assert document["first"] is None


def test_a_configuration_that_cannot_stand(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "vramd.toml"
    file.write_text("[server]\nport = 'many'\n")
    done = shell("doctor", "--config", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}:2: server.port" in done.stderr


def test_what_lies_in_the_current_folder_shadows_nothing(shell: Shell, tmp_path: Path) -> None:
    for name in ("grpc", "click", "json", "vramd_supervisor"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "here.gguf").write_bytes(llama())
    done = shell("doctor", "--json", cwd=tmp_path, VRAMD_MODELS=".", PYTHONPATH=os.pathsep)
    assert (done.returncode, done.stderr) == (0, "")
    assert [model["path"] for model in json.loads(done.stdout)["facts"]["models"]] == [str(tmp_path / "here.gguf")]


@posix
def test_a_person_sees_colours(shell: Shell, models: Path) -> None:
    done = shell("doctor", "--models", str(models), console=(*TERMINAL, *CONSOLE))
    assert done.returncode == 0, done.stdout
    assert "\x1b[31mbad\x1b[0m" in done.stdout
    assert "\x1b[32mok" in done.stdout


def test_an_estimate_beside_the_figure_of_a_file(shell: Shell, machine: Callable[..., None], models: Path) -> None:
    machine(NO_LIBRARY)
    file = str(models / "large.gguf")
    document = told(shell("estimate", "--model", file, "--json"))
    assert list(document) == ["parameters", "bits", "context_tokens", "rules", "exact"]
    assert (document["bits"], document["context_tokens"]) == (16, 2048)
    exact = document["exact"]
    assert exact["device"] == "host"
    assert sum(exact["devices"]["host"].values()) == exact["total_bytes"]
    formula, table = document["rules"]
    assert formula["error"] == pytest.approx(formula["least_bytes"] / exact["total_bytes"] - 1)
    assert table["error"] == pytest.approx(table["least_bytes"] / exact["total_bytes"] - 1)
    longer = told(shell("estimate", "--model", file, "--context", "8192", "--json"))
    grown = longer["exact"]["devices"]["host"]["context_bytes"]
    assert grown == 4 * exact["devices"]["host"]["context_bytes"]
    assert [rule["least_bytes"] for rule in longer["rules"]] == [rule["least_bytes"] for rule in document["rules"]]


def test_an_estimate_on_a_card(shell: Shell, machine: Callable[..., None], models: Path) -> None:
    machine(ONE_CARD)
    done = shell("estimate", "--model", str(models / "large.gguf"), "--bits", "4")
    assert done.returncode == 0, done.stderr
    assert "2048 tokens on gpu0 (close, closed_form)" in done.stdout
    assert "parameters of 4 bits" in done.stdout


def test_an_estimate_without_a_file_has_no_errors(shell: Shell) -> None:
    done = shell("estimate", "--params", "8", "--bits", "4")
    assert done.returncode == 0, done.stderr
    assert "4.5 GiB      -\n" in done.stdout
    assert "--model FILE" in done.stdout
    document = told(shell("estimate", "--params", "8", "--bits", "4", "--context", "4096", "--json"))
    assert (document["exact"], document["parameters"]) == (None, 8_000_000_000)
    assert [rule["error"] for rule in document["rules"]] == [None, None]


def test_an_estimate_of_a_damaged_file(shell: Shell, models: Path) -> None:
    done = shell("estimate", "--model", str(models / "broken.gguf"))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(models / "broken.gguf") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--params", "8"), ("--bits", "4"), ("--params", "0", "--bits", "4"), ("--params", "-8")]
)
def test_an_estimate_of_nothing_is_wrong_usage(shell: Shell, arguments: tuple[str, ...]) -> None:
    done = shell("estimate", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr
