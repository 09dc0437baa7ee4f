"""`memory`: the bytes of vramd's processes, and how fast they are freed, beside the budgets of a writing tool."""

import threading
from collections.abc import Callable

import psutil
from vramd import ResidentModel

from .figures import BenchError, Result, Unit, at_most, figure
from .subject import Need, Setup, Subject, look_up_need, running

MB = 1_000_000
MOST_IDLE = at_most(80 * MB)
MOST_TO_RELEASE = at_most(0.05)
WRITING_TOOL = {
    "start": at_most(150 * MB),
    "use": at_most(350 * MB),
    "peak": at_most(600 * MB),
    "unload": at_most(2.0),
    "switch": at_most(1.0),
}
"""Budgets of a desktop writing tool."""

TOKENS = 32
LOOK_EVERY_S = 0.01

NOTES = (
    "Bytes of processes: proportional set size where the system tells it, else resident set size.",
    "writing tool: budgets of a desktop writing tool, here for all of vramd: the supervisor, the worker with the "
    "model, and the spare worker. Other models need other bytes; [server] spare = false saves those of the spare.",
)


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Raises BenchError, VramdError, grpc.RpcError."""
    need = look_up_need(setup)
    seen: dict[str, list[float]] = {}
    for run in range(setup.runs):
        say(f"memory: run {run + 1} of {setup.runs}")
        for name, value in _one_run(setup, need).items():
            seen.setdefault(name, []).append(value)
    in_bytes, in_s = Unit.BYTES, Unit.SECONDS
    return Result(
        "memory",
        (
            figure("supervisor, idle, resident", in_bytes, seen["supervisor"], MOST_IDLE),
            figure("spare worker, idle", in_bytes, seen["spare"]),
            figure("worker with the model, in use", in_bytes, seen["worker"]),
            figure("promised to the worker (receipt: expected)", in_bytes, seen["expected"]),
            figure("given back by it (receipt: observed)", in_bytes, seen["observed"]),
            figure("stop to exit (receipt)", in_s, seen["exit"]),
            figure("exit to memory released (receipt)", in_s, seen["release"]),
            figure("stop to memory released (receipt)", in_s, seen["stop to release"], MOST_TO_RELEASE),
            figure("writing tool: start", in_bytes, seen["start"], WRITING_TOOL["start"]),
            figure("writing tool: use", in_bytes, seen["use"], WRITING_TOOL["use"]),
            figure("writing tool: peak while loading", in_bytes, seen["peak"], WRITING_TOOL["peak"]),
            figure("writing tool: unload", in_s, seen["unload"], WRITING_TOOL["unload"]),
            figure("writing tool: switch, to the first token", in_s, seen["switch"], WRITING_TOOL["switch"]),
        ),
        NOTES,
    )


def _one_run(setup: Setup, need: Need) -> dict[str, float]:
    with running(setup, ["a", "b"], need.budget_for_one) as subject, subject.way("a") as a, subject.way("b") as b:
        spare_pid = subject.wait_for_spare()
        seen: dict[str, float] = {
            "supervisor": subject.client.status().supervisor.rss_bytes,
            "spare": process_bytes(psutil.Process(spare_pid)),
            "start": bytes_of_all(subject.pid),
        }
        with Peak(subject.pid) as loading:
            a.stream(1)
        seen["peak"] = loading.most_bytes
        subject.wait_for_spare()
        with Peak(subject.pid) as using:
            a.stream(TOKENS)
        seen["use"] = using.most_bytes
        seen["worker"] = process_bytes(psutil.Process(_resident(subject).pid))
        seen["switch"] = b.stream(1).first_token_s
        subject.wait_for_spare()
        return seen | _unload(subject)


def _resident(subject: Subject) -> ResidentModel:
    (model,) = (model for model in subject.client.resident() if model.state == "READY")
    return model


def _unload(subject: Subject) -> dict[str, float]:
    receipt = subject.client.unload(_resident(subject).model)
    observed_bytes = receipt.observed_bytes
    if observed_bytes is None:
        raise BenchError(f"the receipt tells no bytes: {receipt.reason}")
    back_s = receipt.exit_s + receipt.release_s
    return {
        "expected": receipt.expected_bytes,
        "observed": observed_bytes,
        "exit": receipt.exit_s,
        "release": receipt.release_s,
        "stop to release": back_s,
        "unload": back_s,
    }


def process_bytes(process: psutil.Process) -> int:
    """The bytes of one process; 0 if it is gone."""
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def bytes_of_all(supervisor_pid: int) -> int:
    """The bytes of a supervisor and its workers together."""
    supervisor = psutil.Process(supervisor_pid)
    return sum(map(process_bytes, (supervisor, *supervisor.children())))


class Peak:
    """Samples the bytes of vramd's processes on a thread while its block runs."""

    def __init__(self, supervisor_pid: int) -> None:
        self.most_bytes = 0
        self._supervisor_pid = supervisor_pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak", daemon=True)

    def _watch(self) -> None:
        while True:
            self.most_bytes = max(self.most_bytes, bytes_of_all(self._supervisor_pid))
            if self._over.wait(LOOK_EVERY_S):
                return

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
