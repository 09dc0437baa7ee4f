"""`vramd plan`: against scripted answers, and for cards that are imagined against a stand-in of the supervisor."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from google.protobuf.json_format import MessageToJson
from support.fake_supervisor import FakeSupervisor, Refusal, plan, plan_that_does_not_fit, resident
from vramd_cli.commands import plan as plan_command
from vramd_cli.main import vramd
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2, model_pb2

Shell = Callable[..., Result]

DOCUMENT = {
    "model": "talker",
    "fits": True,
    "settings": {
        "context": 4096,
        "batch": 512,
        "ubatch": 512,
        "kv_type": "f16",
        "flash_attention": "auto",
        "parallel": 4,
        "outputs": 4,
        "gpu_layers": -1,
        "threads": 2,
        "devices": ["gpu0"],
        "swa_full": False,
        "kv_split": False,
    },
    "quote": {
        "source": "dry_run",
        "confidence": "exact",
        "seconds": 0.25,
        "devices": [
            {
                "id": "gpu0",
                "weights_bytes": 2 << 30,
                "context_bytes": 512 << 20,
                "compute_bytes": 256 << 20,
                "process_bytes": 256 << 20,
            },
            {
                "id": "host",
                "weights_bytes": 0,
                "context_bytes": 0,
                "compute_bytes": 16 << 20,
                "process_bytes": 48 << 20,
            },
        ],
    },
    "devices": [
        {
            "id": "gpu0",
            "free_bytes": 2 << 30,
            "reserved_bytes": 3 << 29,
            "external_bytes": 1 << 30,
            "headroom_bytes": 512 << 20,
        },
        {"id": "host", "free_bytes": 1 << 30, "reserved_bytes": 0, "external_bytes": 0, "headroom_bytes": 0},
    ],
    "victims": [
        {
            "model": "reader",
            "incarnation": 2,
            "gives_back": [{"id": "gpu0", "bytes": 3 << 29}, {"id": "host", "bytes": 64 << 20}],
        }
    ],
    "expected_load_s": 2.5,
    "nearest": [],
    "degraded": [],
    "cautions": [],
    "message": "1.00 GiB are missing on gpu0",
    "verdict": "evicts",
    "awaited": "unspecified",
    "lowered": [],
}
"""What programs rely on."""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(tmp_path / "run") as supervisor:
        yield supervisor


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    environment = {"VRAMD_RUNTIME_DIR": str(tmp_path / "run"), "VRAMD_ADDRESS": None, "VRAMD_TOKEN": None}

    def call(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(vramd, arguments)

    return call


def test_the_document_has_the_keys_that_programs_rely_on(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("PlanLoad", plan())
    done = shell("plan", "talker", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == DOCUMENT
    assert list(json.loads(done.stdout)) == list(DOCUMENT)


def test_what_would_fit_has_its_settings_in_the_document(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("PlanLoad", plan_that_does_not_fit())
    told = json.loads(shell("plan", "talker", "--context", "65536", "--json").stdout)
    (nearest,) = told["nearest"]
    assert list(nearest) == [*told["settings"], "needed_bytes", "changes", "lowered"]
    assert (told["fits"], told["expected_load_s"], nearest["needed_bytes"]) == (False, None, 3 << 30)


def test_flags_arrive(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("PlanLoad", plan())
    shell("plan", "talker", "--context", "2048", "--swa-full", "--no-degrade", "--outputs", "all", "--gpu-layers", "-1")
    shell("plan", "talker")
    load = load_pb2.LoadOptions(
        context_tokens=2048, swa_full=True, degrade=False, output_rule=load_pb2.OUTPUT_RULE_ALL, gpu_layers=-1
    )
    assert fake.requests("PlanLoad") == [
        model_pb2.PlanLoadRequest(model="talker", load=load),
        model_pb2.PlanLoadRequest(model="talker"),
    ]


def test_a_plan_for_people(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("PlanLoad", plan())
    done = shell("plan", "talker")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "talker fits on gpu0: 3.0 GiB of 3.5 GiB free, host: 64.0 MiB of 1.1 GiB free, once reader is gone",
        "1.00 GiB are missing on gpu0",
        "context 4096, batch 512, ubatch 512, KV cache f16, 4 parallel, all layers on the GPU",
        "",
        "DEVICE  WEIGHTS    CONTEXT    COMPUTE    PROCESS     TOTAL     FREE",
        "gpu0    2.0 GiB  512.0 MiB  256.0 MiB  256.0 MiB   3.0 GiB  2.0 GiB",
        "host        0 B        0 B   16.0 MiB   48.0 MiB  64.0 MiB  1.0 GiB",
        "",
        "exact, by llama.cpp's own allocator, without allocating; found in 0.25 s",
        "a load would take about 2.5 s",
        "reader would go, and give back 1.5 GiB on gpu0, 64.0 MiB on host",
    ]


def test_a_model_that_fits_as_it_is(fake: FakeSupervisor, shell: Shell) -> None:
    found = plan()
    found.ClearField("victims")
    found.ClearField("message")
    del found.quote.devices[0]
    fake.script("PlanLoad", found)
    lines = shell("plan", "talker").stdout.splitlines()
    assert lines[0] == "talker fits on host: 64.0 MiB of 1.0 GiB free"
    assert lines[1].startswith("context 4096")


def test_the_spare_has_a_name_and_degradations_a_line_each(fake: FakeSupervisor, shell: Shell) -> None:
    found = plan()
    found.victims[0].model = ""
    found.settings.gpu_layers = 12
    found.degraded.extend(["computations of 256 tokens", "KV cache as q8_0"])
    fake.script("PlanLoad", found)
    lines = shell("plan", "talker").stdout.splitlines()
    assert lines[0].endswith("once the spare process is gone")
    assert lines[2].endswith("12 layers on the GPU")
    assert lines[-3:] == [
        "the spare process would go, and give back 1.5 GiB on gpu0, 64.0 MiB on host",
        "less than usual: computations of 256 tokens",
        "less than usual: KV cache as q8_0",
    ]


def test_words_of_a_newer_supervisor_are_shown_as_they_come(fake: FakeSupervisor, shell: Shell) -> None:
    found = plan()
    found.quote.source, found.quote.confidence = 98, 99  # type: ignore[assignment]  # what a newer one may send
    fake.script("PlanLoad", found)
    assert "99, 98; found in 0.25 s\n" in shell("plan", "talker").stdout


def test_it_is_no_failure_if_it_does_not_fit(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("PlanLoad", plan_that_does_not_fit())
    done = shell("plan", "talker", "--context", "65536")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "does not fit: talker needs 10.50 GiB on gpu0, which may give 7.00 GiB in all"
    assert lines[-1] == "would fit, 3.0 GiB in all: --ubatch 128 --kv-type q8_0 --context 1536"


def test_what_would_fit_can_be_typed_as_it_stands(fake: FakeSupervisor, shell: Shell) -> None:
    """The flags that were given stay, but for those that have to change; typing them again asks for just that."""
    fake.script("PlanLoad", plan_that_does_not_fit())
    given = ("--context", "65536", "--parallel", "4", "--kv-split", "--no-degrade", "--keep-alive", "-1")
    flags = shell("plan", "talker", *given).stdout.splitlines()[-1].partition(": ")[2]
    assert flags == (
        "--ubatch 128 --kv-type q8_0 --context 1536 --parallel 4 --kv-split --no-degrade --keep-alive -1.0"
    )
    shell("plan", "talker", *flags.split())
    asked = load_pb2.LoadOptions(
        ubatch_tokens=128,
        kv_type=load_pb2.KV_TYPE_Q8_0,
        context_tokens=1536,
        parallel=4,
        kv_split=True,
        degrade=False,
        keep_alive_s=-1,
    )
    assert fake.requests("PlanLoad")[1] == model_pb2.PlanLoadRequest(model="talker", load=asked)


def test_a_file_that_is_no_model_is_told_about_cards(fake: FakeSupervisor, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "new.gguf"
    file.touch()
    fake.script("ListModels", model_pb2.ListModelsResponse())
    fake.script("PlanLoad", Refusal(Reason.MODEL_NOT_FOUND, message="no model is called so"))
    done = shell("plan", str(file))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("vramd: no model is called so (MODEL_NOT_FOUND)\n")
    assert f"vramd plan {file} --card 8GiB" in done.stderr


def test_a_file_without_a_supervisor_is_told_about_cards(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "new.gguf"
    file.touch()
    done = shell("plan", str(file))
    assert done.exit_code == 1
    assert "vramd serve" in done.stderr
    assert "--card 8GiB" in done.stderr


@pytest.mark.parametrize("name", ["nobody", "n" * 5000])
def test_what_is_neither_model_nor_file_is_refused_as_ever(fake: FakeSupervisor, shell: Shell, name: str) -> None:
    fake.script("PlanLoad", Refusal(Reason.MODEL_NOT_FOUND, message="no model is called so"))
    done = shell("plan", name)
    assert (done.exit_code, done.stderr) == (1, "vramd: no model is called so (MODEL_NOT_FOUND)\n")


STAND_IN = """
import json, sys
from pathlib import Path
Path(__file__).with_name("arguments.json").write_text(json.dumps(sys.argv[1:]))
print({document!r})
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """A package under the supervisor's name; the file where it writes what it was asked."""
    package = folder / "stand-in" / "vramd_supervisor"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(program, "utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    return package / "arguments.json"


def answering(message: model_pb2.PlanLoadResponse) -> str:
    """Prints a plan as the supervisor's package does."""
    document = MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return STAND_IN.format(document=document)


def test_an_imagined_card_needs_no_supervisor(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = stand_in(tmp_path, monkeypatch, answering(plan()))
    monkeypatch.chdir(tmp_path)
    cards = ("--card", "8GiB", "--card", "600MB")
    flags = ("--context", "8192", "--gpu-layers", "-1", "--gpu-only", "--no-degrade", "--outputs", "8")
    done = shell("plan", "new.gguf", *cards, *flags, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == DOCUMENT
    *arguments, options, border, file = json.loads(written.read_text("utf-8"))
    assert arguments == ["plan", *cards, "--options"]
    assert (border, file) == ("--", str(tmp_path / "new.gguf"))
    assert load_pb2.LoadOptions.FromString(bytes.fromhex(options)) == load_pb2.LoadOptions(
        context_tokens=8192, gpu_layers=-1, gpu_only=True, degrade=False, output_tokens=8
    )


def test_nothing_asked_for_is_nothing_handed_on(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = stand_in(tmp_path, monkeypatch, answering(plan()))
    assert shell("plan", str(tmp_path / "new.gguf"), "--card", "8GiB").exit_code == 0
    assert json.loads(written.read_text("utf-8")) == ["plan", "--card", "8GiB", "--", str(tmp_path / "new.gguf")]


@pytest.mark.parametrize("answer", [plan(), plan_that_does_not_fit()], ids=["fits", "does not"])
def test_a_plan_for_an_imagined_card_looks_the_same(
    fake: FakeSupervisor,
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: model_pb2.PlanLoadResponse,
) -> None:
    stand_in(tmp_path, monkeypatch, answering(answer))
    fake.script("PlanLoad", answer)
    for flags in ((), ("--json",)):
        assert shell("plan", "new.gguf", "--card", "8GiB", *flags).stdout == shell("plan", "talker", *flags).stdout
    assert len(fake.calls) == 2


def test_why_an_imagined_card_cannot_be_planned_for(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "import sys; sys.exit('vramd: it is damaged')")
    done = shell("plan", "new.gguf", "--card", "8GiB")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "vramd: it is damaged\n")


def test_a_number_that_cannot_be_asked_for_on_a_card(shell: Shell) -> None:
    done = shell("plan", "new.gguf", "--card", "8GiB", "--context", "-1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Invalid value for '--context': Value out of range: -1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--card", "large"), "expected a size"),
        (("--card", "8GiB", "--start", "--timeout", "3"), "--start, --timeout cannot go with it"),
        (("--card", "8GiB", "--address", "a:1"), "--address cannot go with it"),
    ],
)
def test_wrong_usage_of_cards(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    done = shell("plan", "new.gguf", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_settings_that_may_change_can_be_typed() -> None:
    flags = {option.name for option in plan_command.plan.params if isinstance(option, click.Option)}
    assert set(plan_command.CHANGEABLE) | set(plan_command.CALLS_ONLY) <= flags


def test_a_load_tells_its_degradations(fake: FakeSupervisor, shell: Shell) -> None:
    loaded = resident()
    loaded.degraded.extend(["computations of 256 tokens", "KV cache as q8_0"])
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=loaded))
    assert shell("load", "talker").stdout.splitlines()[1:] == [
        "less than usual: computations of 256 tokens",
        "less than usual: KV cache as q8_0",
    ]
    told = json.loads(shell("load", "talker", "--json").stdout)
    assert (told["degraded"], told["settings"], told["quote"]) == (
        ["computations of 256 tokens", "KV cache as q8_0"],
        DOCUMENT["settings"],
        DOCUMENT["quote"],
    )
