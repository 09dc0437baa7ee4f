"""The short commands, in this process, against scripted answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import Shell
from support.fake_supervisor import FakeSupervisor, Refusal, device, known, receipt, resident, standing
from vramd_cli import output
from vramd_cli.main import COMMANDS
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

OWN_SUPERVISOR = ("serve", "cert", "demo", "bench", "estimate", "simulate", "replay")
"""Commands that call no supervisor of the user's; the help of the first is the supervisor's own."""

PS_KEYS = [
    "model",
    "worker_id",
    "state",
    "pid",
    "devices",
    "reserved_bytes",
    "measured_bytes",
    "parallel",
    "in_flight",
    "queued",
    "loaded_s",
    "last_used_s",
    "pinned",
    "context_tokens",
    "degraded",
    "lowered",
    "cautions",
    "settings",
    "quote",
    "holders",
    "keep_alive_s",
    "keep_alive_left_s",
    "priority",
    "deaths",
]


def status() -> supervisor_pb2.GetStatusResponse:
    info = supervisor_pb2.SupervisorInfo(
        pid=9,
        version="0.1.0",
        uptime_s=75,
        rss_bytes=60 << 20,
        address="127.0.0.1:5",
        usable_cores=2,
        api=1,
        loop_lag_s=0.012,
        cores_left=1,
        foreign_cores=0.9,
    )
    waiting = model_pb2.ResidentModel(model="waits", state=model_pb2.MODEL_STATE_QUEUED, queued=1)
    host = supervisor_pb2.Device(id="host", kind=supervisor_pb2.DEVICE_KIND_HOST, unusable="no room at all")
    return supervisor_pb2.GetStatusResponse(supervisor=info, devices=[device(), host], models=[resident(), waiting])


def test_ps_has_the_keys_that_programs_rely_on(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetStatus", status())
    done = shell("ps", "--json")
    assert done.exit_code == 0, done.output
    ready, queued = json.loads(done.stdout)
    assert list(ready) == list(queued) == PS_KEYS
    assert ready["state"] == "READY"
    assert ready["devices"] == [{"id": "gpu0", "reserved_bytes": 3 << 30, "measured_bytes": 2 << 30}]
    assert (queued["pid"], queued["context_tokens"], queued["loaded_s"], queued["last_used_s"]) == (None,) * 4
    assert queued["measured_bytes"] is None


def test_status_has_the_keys_that_programs_rely_on(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetStatus", status())
    told = json.loads(shell("status", "--json").stdout)
    assert list(told) == ["supervisor", "devices", "models"]
    assert told["supervisor"] == {
        "pid": 9,
        "version": "0.1.0",
        "uptime_s": 75,
        "rss_bytes": 60 << 20,
        "address": "127.0.0.1:5",
        "usable_cores": 2,
        "api": 1,
        "draining": False,
        "running": 0,
        "queued": 0,
        "loop_lag_s": 0.012,
        "ending": False,
        "cores_left": 1,
        "foreign_cores": 0.9,
    }
    assert told["devices"][0] == {
        "id": "gpu0",
        "kind": "nvidia",
        "name": "A Card",
        "total_bytes": 8 << 30,
        "budget_bytes": 7 << 30,
        "reserved_bytes": 3 << 30,
        "external_bytes": 1 << 30,
        "headroom_bytes": 1 << 30,
        "free_bytes": 3 << 30,
        "temperature_c": 60,
        "utilisation_percent": 90,
        "uuid": "GPU-1",
        "unusable": None,
        "pressure": "NONE",
    }
    assert [list(model) for model in told["models"]] == [PS_KEYS, PS_KEYS]


def test_status_for_people_fits_a_narrow_screen(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetStatus", status())
    done = shell("status")
    assert done.exit_code == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for part in (
        "127.0.0.1:5",
        "7.0 GiB",
        "60.0 MiB",
        "pinned",
        "1/4 +2",
        "held by game",
        " 4096 ",
        "host: no room at all",
        "other programs take 0.9 cores: models compute on 1 of 2 cores",
    ):
        assert part in done.stdout
    assert "\x1b" not in done.stdout


def test_models_and_devices(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known("a"), known("b", problem="it is damaged")]))
    fake.script("ListDevices", supervisor_pb2.ListDevicesResponse(devices=[device()]))
    listed = shell("models").stdout.splitlines()
    assert listed[0].split() == ["MODEL", "STATE", "SIZE", "KIND", "TYPE", "CONTEXT"]
    assert listed[1].split() == ["a", "UNLOADED", "45.0", "MiB", "llama", "Q4_K_M", "8192"]
    assert listed[-1] == "b: it is damaged"
    assert [model["id"] for model in json.loads(shell("models", "--json").stdout)] == ["a", "b"]
    assert json.loads(shell("devices", "--json").stdout)[0]["kind"] == "nvidia"
    assert "gpu0" in shell("devices").stdout


def test_models_have_aliases_and_cautions(fake: FakeSupervisor, shell: Shell) -> None:
    talker = known("a")
    talker.aliases.extend(["x", "y"])
    talker.cautions.append("it may ramble")
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[talker, known("b")]))
    assert shell("models").stdout.splitlines()[-1] == "a: it may ramble"
    listed = json.loads(shell("models", "--json").stdout)
    assert [(model["aliases"], model["cautions"]) for model in listed] == [(["x", "y"], ["it may ramble"]), ([], [])]


def test_nothing_to_list_is_said_aside(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    fake.script("ListReservations", supervisor_pb2.ListReservationsResponse())
    done = shell("ps")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no model is loaded" in done.stderr
    assert json.loads(shell("ps", "--json").stdout) == []


@pytest.mark.parametrize(
    ("pinned", "holders", "left_s", "alive_s", "told"),
    [
        (True, ["game"], None, 300, "pinned"),
        (False, ["game"], None, 300, "held"),
        (False, [], 90, 300, "90 s"),
        (False, [], None, -1, "stays"),
        (False, [], None, 300, "-"),
    ],
)
def test_ps_tells_what_keeps_a_model(
    fake: FakeSupervisor,
    shell: Shell,
    pinned: bool,
    holders: list[str],
    left_s: float | None,
    alive_s: float,
    told: str,
) -> None:
    model = resident()
    model.pinned, model.keep_alive_s = pinned, alive_s
    del model.holders[:]
    model.holders.extend(holders)
    if left_s is not None:
        model.keep_alive_left_s = left_s
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse(models=[model]))
    fake.script("ListReservations", supervisor_pb2.ListReservationsResponse())
    header, row = shell("ps").stdout.splitlines()[:2]
    assert row[header.index("BUSY") + 4 :].split("  ")[-1].strip() == told


def test_ps_lists_reservations_too(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetStatus", status())
    for _ in range(3):
        fake.script("ListReservations", supervisor_pb2.ListReservationsResponse(reservations=[standing()]))
    alone = shell("reservations").stdout
    assert str(standing().id) in alone
    assert shell("ps").stdout.endswith(f"\n{alone}")
    assert len(json.loads(shell("reservations", "--json").stdout)) == 1


def test_load_is_quiet_in_a_pipe(fake: FakeSupervisor, shell: Shell) -> None:
    steps = [model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING, progress=share) for share in (0, 0.5)]
    fake.script("LoadModel", *steps, model_pb2.LoadModelResponse(resident=resident()))
    flags = ["--context", "4096", "--threads", "2", "--device", "gpu0", "--gpu-layers", "-1"]
    flags += ["--batch", "256", "--kv-type", "q8_0", "--parallel", "2", "--keep-alive", "-1", "--timeout", "30"]
    done = shell("load", "talker", *flags)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert done.stdout == "talker is loaded: pid 4711, 3.0 GiB on gpu0, context 4096\n"
    request = fake.request(model_pb2.LoadModelRequest)
    asked = request.load
    assert (asked.context_tokens, asked.threads, asked.device, asked.gpu_layers) == (4096, 2, "gpu0", -1)
    assert (asked.batch_tokens, asked.parallel, asked.keep_alive_s) == (256, 2, -1)
    assert asked.kv_type == load_pb2.KV_TYPE_Q8_0
    left_s = fake.calls[0].left_s
    assert left_s is not None
    assert left_s < 32


def test_unload_prints_the_receipt(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("UnloadModel", model_pb2.UnloadModelResponse(receipt=receipt()))
    told = json.loads(shell("unload", "talker", "--json").stdout)
    devices = told.pop("devices")
    assert told == {
        "model": "talker",
        "worker_id": 3,
        "pid": 4711,
        "exit": "ended",
        "exit_s": 0.25,
        "release_s": 0.01,
        "expected_bytes": 200 << 20,
        "observed_bytes": 198 << 20,
        "reason": "private memory before the stop",
        "message": "ended",
    }
    assert devices == [{"id": "host", "expected_bytes": 200 << 20, "observed_bytes": None, "reason": "no way to tell"}]
    assert "198.0 MiB came back of 200.0 MiB" in shell("unload", "talker", "--force").stdout
    assert fake.requests("UnloadModel")[1] == model_pb2.UnloadModelRequest(model="talker", force=True)


def test_embed(fake: FakeSupervisor, shell: Shell) -> None:
    vectors = [inference_pb2.Embedding(index=number, values=[number, 0.25]) for number in (0, 1)]
    fake.script("Embed", inference_pb2.EmbedResponse(model="m", dimensions=2, embeddings=vectors))
    assert json.loads(shell("embed", "m", "one", "two", "--json").stdout) == {
        "model": "m",
        "dimensions": 2,
        "embeddings": [{"index": 0, "embedding": [0.0, 0.25]}, {"index": 1, "embedding": [1.0, 0.25]}],
    }
    assert shell("embed", "m", "one", "two").stdout == "0.0000 0.2500\n1.0000 0.2500\n"


def test_rescan_and_logs(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("RescanModels", model_pb2.RescanModelsResponse(added=["c"], removed=["d"], known=3))
    fake.script("TailLogs", supervisor_pb2.TailLogsResponse(line="a line"))
    assert shell("rescan").stdout == "+ c\n- d\n3 models known\n"
    assert json.loads(shell("rescan", "--json").stdout) == {"added": ["c"], "removed": ["d"], "known": 3}
    assert shell("logs").stdout == "a line\n"
    assert shell("logs", "talker", "-n", "5", "--follow").exit_code == 0
    assert fake.requests("TailLogs")[1] == supervisor_pb2.TailLogsRequest(model="talker", lines=5, follow=True)


def test_a_failed_call_is_one_line_and_exit_1(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("UnloadModel", Refusal(Reason.MODEL_NOT_FOUND, message="no model is called nobody"))
    done = shell("unload", "nobody", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "vramd: no model is called nobody (MODEL_NOT_FOUND)\n"


def test_no_supervisor_and_how_to_start_one(shell: Shell, tmp_path: Path) -> None:
    done = shell("ps", "--runtime-dir", str(tmp_path / "nowhere"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "vramd serve --models DIR" in done.stderr


def test_by_address_and_token(fake: FakeSupervisor, shell: Shell, tmp_path: Path) -> None:
    fake.script("GetStatus", status())
    elsewhere = str(tmp_path / "nowhere")
    (tmp_path / "secret").write_text(fake.token)
    by_file = ("ps", "--json", "--address", fake.address, "--token-file", str(tmp_path / "secret"))
    assert shell(*by_file, VRAMD_RUNTIME_DIR=elsewhere).exit_code == 0
    by_variable = {"VRAMD_RUNTIME_DIR": elsewhere, "VRAMD_ADDRESS": fake.address, "VRAMD_TOKEN": fake.token}
    assert shell("ps", "--json", **by_variable).exit_code == 0
    without = shell("ps", "--json", "--address", fake.address, VRAMD_RUNTIME_DIR=elsewhere)
    assert without.exit_code == 1
    assert "TOKEN_MISSING" in without.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("play",),
        ("ps", "--wide"),
        ("embed", "m"),
        ("run", "m", "p", "--top-k", "many"),
        ("logs", "-n", "-1"),
        ("ps", "--address", "a:1", "--runtime-dir", "b"),
        ("models", "--address", "a:1", "--start"),
    ],
)
def test_wrong_usage_is_exit_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    done = shell(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage" in done.stderr


def test_every_command_has_a_help(shell: Shell) -> None:
    overview = shell("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in overview
        if command not in OWN_SUPERVISOR:
            done = shell(command, "--help")
            assert done.exit_code == 0
            assert "--runtime-dir" in done.stdout


def test_shutdown_waits_until_the_supervisor_is_gone(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Shutdown", supervisor_pb2.ShutdownResponse())
    recorded = json.loads(fake.folder.address_file.read_text())
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    fake.folder.address_file.write_text(json.dumps({**recorded, "pid": process.pid}))
    assert shell("shutdown", "--force").exit_code == 0
    assert fake.requests("Shutdown") == [supervisor_pb2.ShutdownRequest(force=True)]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (600 << 20, "600.0 MiB"),
        (7 << 30, "7.0 GiB"),
        (5000 << 40, "5000.0 TiB"),
    ],
)
def test_sizes_for_people(size_bytes: int | None, text: str) -> None:
    assert output.size(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_s", "text"), [(None, "-"), (0.4, "0 s"), (90, "90 s"), (3600, "60 min"), (90_000, "25 h"), (1e6, "12 d")]
)
def test_durations_for_people(duration_s: float | None, text: str) -> None:
    assert output.duration(duration_s) == text
