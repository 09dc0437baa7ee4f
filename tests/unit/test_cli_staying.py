"""`pin`, `unpin`, `keep`, `restart`, `events`, and how wrong usage is told."""

import json
from typing import Any

import pytest
from support.command_line import Shell, interrupted, posix, started
from support.fake_answers import queue_changed, thrashing
from support.fake_supervisor import FakeSupervisor, Refusal, Wait, known, receipt, resident
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2


@pytest.mark.parametrize(("command", "pinned"), [("pin", True), ("unpin", False)])
def test_pin_and_unpin(fake: FakeSupervisor, shell: Shell, command: str, pinned: bool) -> None:
    fake.script("UpdateModel", model_pb2.UpdateModelResponse(model=known()))
    assert shell(command, "talker").stdout == f"talker is {'' if pinned else 'not '}pinned\n"
    assert fake.requests("UpdateModel") == [model_pb2.UpdateModelRequest(model="talker", pinned=pinned)]
    assert json.loads(shell(command, "talker", "--json").stdout)["id"] == "talker"


@pytest.mark.parametrize(
    ("alive", "seconds", "words"),
    [
        ("10m", 600, "stays 10 min after its last use"),
        ("90s", 90, "stays 90 s after its last use"),
        ("90", 90, "stays 90 s after its last use"),
        ("1.5h", 5400, "stays 90 min after its last use"),
        ("2d", 172_800, "stays 2 d after its last use"),
        ("0", 0, "leaves at once after its use"),
        ("-1", -1, "stays"),
        ("forever", -1, "stays"),
    ],
)
def test_keep(fake: FakeSupervisor, shell: Shell, alive: str, seconds: float, words: str) -> None:
    fake.script("UpdateModel", model_pb2.UpdateModelResponse(model=known()))
    assert shell("keep", "talker", "--alive", alive).stdout == f"talker {words}\n"
    assert fake.requests("UpdateModel") == [model_pb2.UpdateModelRequest(model="talker", keep_alive_s=seconds)]


@pytest.mark.parametrize(
    ("flags", "asked", "words"),
    [
        (("--priority", "batch"), {"priority": load_pb2.PRIORITY_BATCH}, "has requests of priority batch"),
        (
            ("--alive", "0", "--priority", "normal"),
            {"priority": load_pb2.PRIORITY_NORMAL, "keep_alive_s": 0},
            "leaves at once after its use and has requests of priority normal",
        ),
    ],
)
def test_keep_says_how_urgent_a_model_is(
    fake: FakeSupervisor, shell: Shell, flags: tuple[str, ...], asked: dict[str, Any], words: str
) -> None:
    fake.script("UpdateModel", model_pb2.UpdateModelResponse(model=known()))
    assert shell("keep", "talker", *flags).stdout == f"talker {words}\n"
    assert fake.requests("UpdateModel") == [model_pb2.UpdateModelRequest(model="talker", **asked)]


def test_keep_without_a_change_is_wrong_usage(fake: FakeSupervisor, shell: Shell) -> None:
    done = shell("keep", "talker")
    assert (done.exit_code, done.stdout, fake.calls) == (2, "", [])
    assert done.stderr.endswith("\nvramd: there is nothing to change: give --alive, --priority or both.\n")


@pytest.mark.parametrize("alive", ["soon", "-2", "1e3", "10 m", "", "nan"])
def test_what_is_no_duration_is_wrong_usage(fake: FakeSupervisor, shell: Shell, alive: str) -> None:
    done = shell("keep", "talker", "--alive", alive)
    assert done.exit_code == 2
    assert "is no duration" in done.stderr
    assert fake.calls == []


def test_restart(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("RestartModel", model_pb2.RestartModelResponse(resident=resident()))
    done = shell("restart", "talker", "--force")
    assert done.stdout == "talker is loaded: pid 4711, 3.0 GiB on gpu0, context 4096\n"
    assert fake.requests("RestartModel") == [model_pb2.RestartModelRequest(model="talker", force=True)]
    assert json.loads(shell("restart", "talker", "--json").stdout)["worker_id"] == 3


def test_restart_of_what_is_not_loaded(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("RestartModel", Refusal(Reason.MODEL_NOT_LOADED, message="it is not loaded"))
    done = shell("restart", "talker")
    assert (done.exit_code, done.stderr) == (1, "vramd: it is not loaded (MODEL_NOT_LOADED)\n")


def test_reserve_prints_the_id_and_release_takes_it(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("ReserveMemory", supervisor_pb2.ReserveMemoryResponse(reservation=8, waited_s=0.25))
    asked = ("reserve", "1.5GiB", "--device", "gpu0", "--for", "2m", "--label", "game")
    assert shell(*asked).stdout == "8\n"
    size_bytes = 3 << 29
    expected = supervisor_pb2.ReserveMemoryRequest(device="gpu0", size_bytes=size_bytes, ttl_s=120, label="game")
    assert fake.requests("ReserveMemory") == [expected]
    document = {"id": 8, "device": "gpu0", "size_bytes": size_bytes, "ttl_s": 120, "label": "game", "waited_s": 0.25}
    assert json.loads(shell(*asked, "--json").stdout) == document
    fake.script("ReleaseMemory", supervisor_pb2.ReleaseMemoryResponse(released=True))
    fake.script("ReleaseMemory", supervisor_pb2.ReleaseMemoryResponse())
    assert shell("release", "8").stdout == "reservation 8 is released\n"
    assert shell("release", "8").stdout == "reservation 8 had ended already\n"
    assert fake.requests("ReleaseMemory") == [supervisor_pb2.ReleaseMemoryRequest(reservation=8)] * 2


@pytest.mark.parametrize("size", ["much", "-1", "1.5", "1GiBs"])
def test_what_is_no_size_is_told(fake: FakeSupervisor, shell: Shell, size: str) -> None:
    done = shell("reserve", "--", size)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Invalid value for 'SIZE': expected a size such as" in done.stderr
    assert fake.calls == []


def story() -> tuple[supervisor_pb2.WatchEventsResponse, ...]:
    row = supervisor_pb2.LedgerRow(id="gpu0", reserved_bytes=3 << 30, budget_bytes=7 << 30)
    ledger = supervisor_pb2.LedgerChanged(devices=[row], message="a is loaded")
    change = supervisor_pb2.ModelChanged(model="a", worker_id=2, cause=model_pb2.CAUSE_LOADING, message="it answers")
    change.before, change.after = model_pb2.MODEL_STATE_LOADING, model_pb2.MODEL_STATE_READY
    evicted = supervisor_pb2.Evicted(model="a", worker_id=2, message="used 3 s ago", for_model="b")
    evicted.cause = model_pb2.CAUSE_EVICTED_FOR_MODEL
    told = supervisor_pb2.WatchEventsResponse
    return (
        told(sequence=41, kind=supervisor_pb2.EVENT_KIND_MODEL, model_changed=change),
        told(sequence=42, kind=supervisor_pb2.EVENT_KIND_LEDGER, ledger_changed=ledger),
        told(sequence=43, kind=supervisor_pb2.EVENT_KIND_EVICTION, evicted=evicted),
        told(sequence=44, kind=supervisor_pb2.EVENT_KIND_RELEASE, released=receipt()),
        queue_changed(),
        thrashing(),
        thrashing(curable=False),
        told(sequence=45),
    )


THRASH = "thrash reader and talker drive each other out: 7.5 loads per minute, 25% of the time for answers"


def test_events_are_lines(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("WatchEvents", *story())
    done = shell("events", "--kind", "memory", "--kind", "model", "--after", "40")
    assert done.exit_code == 0
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["41", "42", "43", "44", "11", "12", "12", "45"]
    assert [" ".join(line[2].split()) for line in lines] == [
        "model a (2) LOADING -> READY: it answers",
        "memory gpu0 3.0 GiB of 7.0 GiB: a is loaded",
        "eviction a (2) leaves for b: used 3 s ago",
        "release talker is unloaded: pid 4711 ended after 0.25 s; 198.0 MiB came back of 200.0 MiB reserved",
        "queue requests that wait for talker: 3, for all models: 5",
        f"{THRASH}; would fit together: talker with kv-type q8_0 (2.0 GiB)",
        f"{THRASH}; no settings are known under which they fit",
        "UNSPECIFIED of a kind that this version does not know",
    ]
    kinds = [supervisor_pb2.EVENT_KIND_LEDGER, supervisor_pb2.EVENT_KIND_MODEL]
    assert fake.requests("WatchEvents") == [supervisor_pb2.WatchEventsRequest(kinds=kinds, after_sequence=40)]


def test_events_as_json_are_an_object_per_line(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("WatchEvents", *story())
    told = [json.loads(line) for line in shell("events", "--json").stdout.splitlines()]
    kinds = ["MODEL", "LEDGER", "EVICTION", "RELEASE", "QUEUE", "THRASH", "THRASH", "UNSPECIFIED"]
    assert [event["kind"] for event in told] == kinds
    assert all(list(event) == ["sequence", "time_s", "kind", "detail"] for event in told)
    assert told[2]["detail"] == {
        "model": "a",
        "worker_id": 2,
        "cause": "evicted_for_model",
        "message": "used 3 s ago",
        "for_model": "b",
        "for_reservation": None,
    }


@posix
def test_ctrl_c_ends_the_events(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("WatchEvents", *story()[:1], wait)
    process = started(fake.folder.path, "events", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["sequence"] == 41  # a line comes when it happens, in a pipe too
    assert interrupted(process, wait) == (b"", b"")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--bogus",), "No such option"),
        (("no-such-command",), "there is no command 'no-such-command'"),
        (("ps", "--bogus"), "No such option"),
        (("keep", "talker", "--priority", "soon"), "'soon'"),
        (("ps", "--address", "a:1", "--runtime-dir", "b"), "give one"),
        (("events", "--kind", "noise"), "'noise'"),
    ],
)
def test_wrong_usage_is_told_like_every_failure(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    done = shell(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vramd: ")
    assert told in last
    assert "Error" not in done.stderr


def test_without_a_command_there_is_the_help(shell: Shell) -> None:
    assert "Commands:" in shell().output
    assert shell("--help").exit_code == 0
    assert shell("chat", "--help").exit_code == 0
