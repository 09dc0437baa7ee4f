"""`vramd plan`: against scripted answers, and for imagined cards in this process."""

import asyncio
import json
import re
from pathlib import Path

import click
import pytest
from support.command_line import Shell
from support.fake_supervisor import FakeSupervisor, Refusal, plan, plan_that_does_not_fit, resident
from support.gguf_models import random_llama
from vramd_cli.commands import plan as plan_command
from vramd_common.reasons import Reason
from vramd_common.sizes import parse_size
from vramd_proto.v1 import load_pb2, model_pb2
from vramd_supervisor.offline.plan_cards import plan_for_cards

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
            "worker_id": 2,
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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return random_llama(tmp_path / "new.gguf")


def without_time(text: str) -> str:
    """How long a quote took differs from run to run."""
    return re.sub(r'(found in |"seconds": )[\d.e-]+', r"\1", text)


def test_an_imagined_card_needs_no_supervisor(shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    cards = ("--card", "8GiB", "--card", "2GB")
    flags = ("--context", "1024", "--gpu-layers", "-1", "--device", "gpu1", "--no-degrade", "--outputs", "8")
    done = shell("plan", file.name, *cards, *flags, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told) == list(DOCUMENT)
    assert (told["model"], told["fits"]) == ("new", True)
    asked = {"context": 1024, "gpu_layers": -1, "outputs": 8, "devices": ["gpu1"]}
    assert {name: told["settings"][name] for name in asked} == asked
    free = {device["id"]: device["free_bytes"] for device in told["devices"]}
    assert 0 < free["gpu1"] <= 2_000_000_000


def test_nothing_asked_for_is_planned_with_the_defaults(shell: Shell, file: Path) -> None:
    done = shell("plan", str(file), "--card", "8GiB", "--json")
    assert done.exit_code == 0, done.output
    settings = json.loads(done.stdout)["settings"]
    assert (settings["parallel"], settings["gpu_layers"], settings["kv_type"]) == (4, -1, "f16")


@pytest.mark.parametrize("card", ["8GiB", "1MiB"], ids=["fits", "does not"])
def test_a_plan_for_an_imagined_card_looks_the_same(fake: FakeSupervisor, shell: Shell, file: Path, card: str) -> None:
    answer = asyncio.run(plan_for_cards(file, [parse_size(card)], load_pb2.LoadOptions()))
    fake.script("PlanLoad", answer)
    for flags in ((), ("--json",)):
        imagined = shell("plan", str(file), "--card", card, *flags)
        assert imagined.exit_code == 0, imagined.output
        assert without_time(imagined.stdout) == without_time(shell("plan", "new", *flags).stdout)
    assert len(fake.calls) == 2


def test_why_an_imagined_card_cannot_be_planned_for(shell: Shell, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])
    done = shell("plan", str(file), "--card", "8GiB")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "vramd: new: its header ends early, at byte 100\n"


def test_a_number_that_cannot_be_asked_for_on_a_card(shell: Shell) -> None:
    done = shell("plan", "new.gguf", "--card", "8GiB", "--context", "-1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Invalid value for '--context': Value out of range: -1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--card", "large"), "expected a size"),
        (("--card", "0"), "a card has more than 0 bytes"),
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
