"""How the end of a process is told, and which line of its output says why it gave itself up."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.supervisor_process import until
from vramd_supervisor.devices.cgroup import Cgroups
from vramd_supervisor.domain.receipt import Exit
from vramd_supervisor.workers.containment import by_own_fault, discard, exit_of
from vramd_supervisor.workers.last_words import blames_the_machine, classed, telling
from vramd_supervisor.workers.oom_kills import OomKills

KILL = 9

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


@posix
@pytest.mark.parametrize(
    ("returncode", "asked", "told"),
    [
        (0, True, (Exit.ENDED, "ended")),
        (-signal.SIGTERM, True, (Exit.ENDED, "ended")),
        (-KILL, True, (Exit.FORCED, "ended by force")),
        (-signal.SIGSEGV, True, (Exit.CRASHED, "killed by SIGSEGV")),
        (-signal.SIGABRT, False, (Exit.CRASHED, "killed by SIGABRT")),
        (0, False, (Exit.DIED, "exited with code 0")),
        (3, False, (Exit.DIED, "exited with code 3")),
        (-KILL, False, (Exit.KILLED, "killed by SIGKILL")),
        (-signal.SIGTERM, False, (Exit.KILLED, "killed by SIGTERM")),
        (-200, False, (Exit.KILLED, "killed by signal 200")),
    ],
)
def test_an_end(returncode: int, asked: bool, told: tuple[Exit, str]) -> None:
    assert exit_of(returncode, asked=asked) == told


@posix
def test_a_process_that_the_kernel_killed_for_want_of_memory_is_told_apart() -> None:
    told = exit_of(-KILL, asked=False, out_of_memory=True)
    assert told == (Exit.OUT_OF_MEMORY, "killed by the kernel, which had no memory left")
    assert exit_of(-KILL, asked=True, out_of_memory=True)[0] is Exit.FORCED


def test_each_kill_of_the_kernel_explains_one_death() -> None:
    counts = iter([5, 6, 6, 7, 9, 9, 9])
    kills = OomKills(lambda: next(counts))
    first = second = kills.count()
    assert kills.explain(first), "5, then 6"
    assert not kills.explain(second), "still 6, which is explained"
    assert kills.explain(second), "7"
    third = kills.count()
    assert not kills.explain(third), "9 before it, 9 after it"
    assert kills.explain(first), "9, of which 7 are explained"


def test_a_kill_of_a_while_ago_explains_no_death() -> None:
    count = 5
    kills = OomKills(lambda: count)
    started = kills.count()
    kills.look(100.0)
    count = 6
    for now_s in (110.0, 112.0, 120.0):
        kills.look(now_s)
    assert not kills.explain(started), "some other process was killed ten seconds ago"
    count = 7
    kills.look(122.0)
    assert kills.explain(started), "this one has just been"
    assert not kills.explain(started)


def test_where_the_kernel_counts_no_kills_none_is_one() -> None:
    kills = OomKills(lambda: None)
    assert not kills.explain(kills.count())


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"own/memory.events": "low 0\noom 4\noom_kill 3\n", "vmstat": "oom_kill 9\n"}, 3),
        ({"memory/own/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}, 2),
        ({"vmstat": "nr_free_pages 7\noom_kill 9\n"}, 9),
        ({}, None),
    ],
)
def test_the_kernels_counter_is_read_in_both_versions(tmp_path: Path, files: dict[str, str], count: int | None) -> None:
    version = "4:memory:/own" if any("oom_control" in name for name in files) else "0::/own"
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(f"{version}\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert Cgroups(tmp_path, tmp_path).oom_kills() == count


@posix
def test_a_discarded_child_leaves_no_zombie() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        discard(child)
        until("it is reaped", lambda: not psutil.pid_exists(child.pid))


STACK = [
    "Fatal Python error: Aborted",
    "",
    "Thread 0x7f (most recent call first):",
    '  File "/x/boot.py", line 12 in run',
]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            [
                "load: a warning",
                "/tmp/pip-install-x/vendor/llama.cpp/src/llama-vocab.cpp:2544: GGML_ASSERT(a == b) failed",
            ],
            "llama-vocab.cpp:2544: GGML_ASSERT(a == b) failed",
        ),
        (
            ["C:\\build\\ggml\\src\\ggml-cpu\\binary-ops.cpp:135: binary_op: unsupported types: f32, f64"],
            "binary-ops.cpp:135: binary_op: unsupported types: f32, f64",
        ),
        (
            ["terminate called after throwing an instance of 'std::out_of_range'", "  what():  _Map_base::at"],
            "terminate called after throwing an instance of 'std::out_of_range': _Map_base::at",
        ),
        (
            ["libc++abi: terminating due to uncaught exception of type std::out_of_range: map::at"],
            "libc++abi: terminating due to uncaught exception of type std::out_of_range: map::at",
        ),
        (["ggml-metal.m:12: fatal error"], "ggml-metal.m:12: fatal error"),
        (["error loading model: it is odd", "12:30: a line of a log"], ""),
        ([], ""),
    ],
)
def test_the_line_of_an_assertion_or_of_an_exception_tells(lines: list[str], told: str) -> None:
    assert telling([*lines, *STACK]) == told
    assert not blames_the_machine(lines)


@pytest.mark.parametrize(
    "line",
    [
        "CUDA error: out of memory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 3 MiB on device 0: cudaMalloc failed: out of memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "terminate called after throwing an instance of 'vk::DeviceLostError'",
        "ROCm error: unspecified launch failure",
    ],
)
def test_memory_and_drivers_are_the_machine(line: str) -> None:
    assert blames_the_machine(["loading", line, "/x/ggml-cuda.cu:88: CUDA error", *STACK])


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("/x/ggml.c:12: GGML_ASSERT(a == b) failed", Exit.ASSERTION),
        ("terminate called after throwing an instance of 'std::bad_alloc'", Exit.OUT_OF_MEMORY),
        ("CUDA error: out of memory", Exit.OUT_OF_MEMORY),
        ("CUDA error: an illegal memory access was encountered", Exit.DRIVER_LOST),
        ("all is well", Exit.CRASHED),
    ],
)
def test_a_crash_is_classed_by_what_the_process_said_last(line: str, how: Exit) -> None:
    lines = ["out of memory, long ago", *["x"] * 60, line]
    told, words = classed(Exit.CRASHED, "killed by SIGABRT", lines)
    assert told is how
    assert words.startswith("killed by SIGABRT")
    assert (line.removeprefix("/x/") in words) == (how is not Exit.CRASHED)
    assert classed(Exit.KILLED, "killed by SIGKILL", lines) == (Exit.KILLED, "killed by SIGKILL")


@posix
def test_a_process_that_was_killed_is_not_at_fault() -> None:
    faults = [getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")]
    others = [getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")]
    assert all(by_own_fault(-one) for one in faults)
    assert not any(by_own_fault(-one) for one in others)
    assert not by_own_fault(0)
    assert not by_own_fault(1)
