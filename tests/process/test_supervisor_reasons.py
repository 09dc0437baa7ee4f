"""Every reason of the table, seen by a real client, without a real model."""

from collections.abc import Callable, Iterator, Mapping

import psutil
import pytest
import vramd
from support import gguf_bytes
from support.reasons import (
    AT_THE_LIMITS_ONLY,
    DEAD_DRIVES_ONLY,
    ENGINE_ONLY,
    KERNEL_ONLY,
    NO_CLIENT_OF_OURS,
    check,
)
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, queued, simulated, until
from vramd_common.reasons import Reason

CONFIGURATION = "\n".join(
    (
        "[server]\nrequest_deadline_s = 60",
        "[scheduling]\nqueue_per_model = 1\nstop_s = 0.3",
        CARD,
        simulated("quick", context=100),
        simulated("slow", tokens_per_s=1),
        simulated("silent", tokens_per_s=0.01),
        simulated("endless-load", load_s=600),
        simulated("crash-in-load", manners=["exit-in-load"]),
        simulated("poisonable", manners=["exit-on-poison"]),
        simulated("crash-once", manners=["exit-in-load"], expendable=True),
        simulated("crash-in-answer", manners=["exit-in-decode"], tokens_per_s=2),
        simulated("bug", manners=["bug"]),
        simulated("pinned", card="4GiB", pinned=True),
        simulated("beside-pinned", card="5GiB"),
        simulated("giant", card="9GiB"),
        '[models.gone]\npath = "gone.gguf"',
        '[models.folder]\npath = "folder.gguf"',
        '[models.garbage]\npath = "garbage.gguf"',
    )
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisorProcess]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "folder.gguf").mkdir()
    (folder / "garbage.gguf").write_bytes(b"GGUF" + b"\xff" * 4096)
    configuration = CONFIGURATION.replace('path = "', f'path = "{folder.as_posix()}/')
    with SupervisorProcess(configuration) as supervisor:
        yield supervisor.ready()


def stream_is_cut_off(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    with client.generate("slow", "x", on_crash="fail") as stream:
        next(stream)
        client.unload("slow", force=True)
        assert stream.text


def queue_is_full(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    with supervisor.story() as story, client.generate("endless-load", "x"):
        story.reached("endless-load", "LOADING")
        until("it waits", lambda: queued(client, "endless-load") == 1)
        try:
            client.embed("endless-load", "x")
        finally:
            client.unload("endless-load")


def memory_is_exhausted(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    client.load("pinned")
    try:
        client.load("beside-pinned")
    finally:
        client.unload("pinned")


def reservation_is_too_much_now(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    client.load("pinned")
    try:
        client.reserve("5GiB", device="card", label="game")
    finally:
        client.unload("pinned")


def another_of_its_group_may_not_leave(_: SupervisorProcess) -> None:
    rivals = simulated("first", card="", group="voice", pinned=True) + simulated("second", card="", group="voice")
    with SupervisorProcess(rivals) as grouped:
        client = grouped.client()
        client.load("first")
        client.load("second")


def loaded_differently(supervisor: SupervisorProcess) -> None:
    supervisor.client().load("slow", context=200)
    supervisor.client().embed("slow", "x", context=300)


def killed_before_the_first_token(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    client.load("silent")
    with client.generate("silent", "x", timeout_s=BOUND_S, on_crash="fail") as stream:
        running = until("it runs", lambda: found if (found := client.load("silent")).in_flight else None)
        assert running.pid is not None
        psutil.Process(running.pid).kill()
        next(stream)


def supervisor_ends(_: SupervisorProcess) -> None:
    with SupervisorProcess(simulated("slow", card="", tokens_per_s=1)) as ending:
        client = ending.client()
        with client.generate("slow", "x") as stream:
            next(stream)
            ending.process.terminate()
            ending.heard("DRAINING: the supervisor ends")
            client.embed("slow", "x")


def configuration_is_wrong(_: SupervisorProcess) -> None:
    with SupervisorProcess() as mistaken:
        client = mistaken.client()
        mistaken.configuration.write_text("[server]\nport = -1\n", "utf-8")
        client.reload_config()


def supervisor_is_drained(it: SupervisorProcess) -> None:
    client = it.client()
    client.drain()
    try:
        client.load("quick")
    finally:
        client.undrain()


def request_has_had_its_time(_: SupervisorProcess) -> None:
    with SupervisorProcess("[server]\nrequest_deadline_s = 0.3\n" + simulated("a", card="", load_s=600)) as impatient:
        impatient.client().embed("a", "x")


def load_takes_too_long(_: SupervisorProcess) -> None:
    hanging = simulated("a", card="", manners=["hang-in-load"])
    with SupervisorProcess("[server]\nload_deadline_s = 0.5\n" + hanging) as impatient:
        impatient.client().load("a", timeout_s=30)


def process_hangs(_: SupervisorProcess) -> None:
    slow = simulated("a", card="", tokens_per_s=0.01, expendable=True)
    with SupervisorProcess("[server]\nstall_s = 5\n" + slow) as watchful:
        client = watchful.client()
        resident = client.load("a")
        with client.generate("a", "x") as stream:
            until("it runs", lambda: client.resident()[0].in_flight)
            psutil.Process(resident.pid).suspend()
            next(stream)


def engine_is_missing(_: SupervisorProcess) -> None:
    with SupervisorProcess() as place:
        model, without = place.own / "m.gguf", place.own / "without"
        without.mkdir()
        (without / "llama_cpp.py").write_text(
            "raise ModuleNotFoundError('No module named llama_cpp', name='llama_cpp')"
        )
        model.write_bytes(gguf_bytes.llama())
        configuration = f'[models.m]\npath = "{model.as_posix()}"\n'
        with SupervisorProcess(configuration, environment={"PYTHONPATH": str(without)}) as supervisor:
            supervisor.client().load("m")


CASES: Mapping[Reason, Callable[[SupervisorProcess], object]] = {
    Reason.FIELD_INVALID: lambda it: it.client().chat("quick", []).text,
    Reason.CONTEXT_OVERFLOW: lambda it: it.client().generate("quick", "word " * 101).text,
    Reason.PROMPT_TOO_LARGE: lambda it: it.client().generate("quick", "word " * (2 << 20)).text,
    Reason.TOKEN_MISSING: lambda it: it.stranger("").status(),
    Reason.TOKEN_INVALID: lambda it: it.stranger("guessed").status(),
    Reason.SCOPE_DENIED: lambda it: it.stranger(it.folder.use_token_file.read_text().strip()).load("quick"),
    Reason.MODEL_NOT_FOUND: lambda it: it.client().load("quik"),
    Reason.MODEL_FILE_MISSING: lambda it: it.client().load("gone"),
    Reason.MODEL_PATH_INVALID: lambda it: it.client().load("folder"),
    Reason.MODEL_FILE_INVALID: lambda it: it.client().load("garbage"),
    Reason.MODEL_TOO_LARGE: lambda it: it.client().load("giant"),
    Reason.MODEL_LOADED_DIFFERENTLY: loaded_differently,
    Reason.MODEL_NOT_LOADED: lambda it: it.client().unload("giant"),
    Reason.ENGINE_MISSING: engine_is_missing,
    Reason.DEVICE_UNUSABLE: lambda it: it.client().load("giant", device="gpu7"),
    Reason.QUEUE_FULL: queue_is_full,
    Reason.MEMORY_EXHAUSTED: memory_is_exhausted,
    Reason.RESERVATION_TOO_LARGE: lambda it: it.client().reserve("9GiB", device="card"),
    Reason.RESERVATION_EXHAUSTED: reservation_is_too_much_now,
    Reason.RESIDENCY_EXHAUSTED: another_of_its_group_may_not_leave,
    Reason.SHUTTING_DOWN: supervisor_ends,
    Reason.DRAINING: supervisor_is_drained,
    Reason.CONFIG_INVALID: configuration_is_wrong,
    Reason.WORKER_CRASHED: lambda it: it.client().load("crash-once"),
    Reason.WORKER_HUNG: process_hangs,
    Reason.REQUEST_QUARANTINED: lambda it: it.client().generate("poisonable", "poison").text,
    Reason.MODEL_QUARANTINED: lambda it: it.client().load("crash-in-load"),
    Reason.LOAD_TIMEOUT: load_takes_too_long,
    Reason.WORKER_CRASHED_MID_STREAM: lambda it: it.client().generate("crash-in-answer", "x").text,
    Reason.MODEL_UNLOADED: stream_is_cut_off,
    Reason.DEADLINE_PASSED: request_has_had_its_time,
    Reason.INTERNAL: lambda it: it.client().generate("bug", "x").text,
}


def test_each_reason_has_its_case() -> None:
    elsewhere = ENGINE_ONLY | DEAD_DRIVES_ONLY | NO_CLIENT_OF_OURS | KERNEL_ONLY | AT_THE_LIMITS_ONLY
    assert set(CASES) == set(Reason) - elsewhere


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.name)
def test_reason_reaches_the_client(reason: Reason, shared: SupervisorProcess) -> None:
    with pytest.raises(vramd.VramdError) as failed:
        CASES[reason](shared)
    check(failed.value, reason)
    assert shared.client().status().supervisor.pid == shared.pid


def test_a_crash_before_the_first_token_is_told_apart(shared: SupervisorProcess) -> None:
    with pytest.raises(vramd.WorkerCrashed) as failed:
        killed_before_the_first_token(shared)
    check(failed.value, Reason.WORKER_CRASHED, again=False)
    assert failed.value.metadata["exit"] == "killed by SIGKILL"


def test_a_fault_is_told_as_an_incident_and_explained_in_the_models_log_only(client: vramd.Client) -> None:
    with pytest.raises(vramd.Internal) as failed:
        list(client.generate("bug", "x"))
    incident = failed.value.metadata["incidentId"]
    assert incident in str(failed.value)
    assert "simulated model" not in str(failed.value)

    def logged() -> bool:
        text = "\n".join(client.logs("bug", lines=1000))
        return incident in text and "RuntimeError: a simulated model with the fault 'bug'" in text

    until("the incident and its cause are in the log", logged)


def test_long_names_do_not_make_a_status_too_large(shared: SupervisorProcess) -> None:
    with pytest.raises(vramd.VramdError) as failed:
        shared.client().load("é" * 512)
    check(failed.value, Reason.MODEL_NOT_FOUND)
    with pytest.raises(vramd.VramdError) as failed:
        shared.client().load("giant", device="é" * 64)
    check(failed.value, Reason.DEVICE_UNUSABLE)
    with pytest.raises(vramd.VramdError) as failed:
        shared.client().load("giant", device="é" * 100_000)
    check(failed.value, Reason.FIELD_INVALID)
