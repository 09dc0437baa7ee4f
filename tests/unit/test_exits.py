"""How the end of a process is told, and which line of its output says why it gave itself up."""

import signal
import subprocess
import sys

import psutil
import pytest
from support.supervisor_process import until
from vramd_supervisor.domain.receipt import Exit
from vramd_supervisor.workers.containment import by_own_fault, discard, exit_of
from vramd_supervisor.workers.last_words import blames_the_machine, telling

KILL = 9

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


@posix
@pytest.mark.parametrize(
    ("returncode", "asked", "told"),
    [
        (0, True, (Exit.ENDED, "ended")),
        (-signal.SIGTERM, True, (Exit.ENDED, "ended")),
        (-KILL, True, (Exit.FORCED, "ended by force")),
        (-signal.SIGSEGV, True, (Exit.DIED, "killed by SIGSEGV")),
        (0, False, (Exit.DIED, "exited with code 0")),
        (3, False, (Exit.DIED, "exited with code 3")),
        (-KILL, False, (Exit.DIED, "killed by SIGKILL")),
        (-signal.SIGTERM, False, (Exit.DIED, "killed by SIGTERM")),
        (-200, False, (Exit.DIED, "killed by signal 200")),
    ],
)
def test_an_end(returncode: int, asked: bool, told: tuple[Exit, str]) -> None:
    assert exit_of(returncode, asked=asked) == told


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


@posix
def test_a_process_that_was_killed_is_not_at_fault() -> None:
    faults = [getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")]
    others = [getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")]
    assert all(by_own_fault(-one) for one in faults)
    assert not any(by_own_fault(-one) for one in others)
    assert not by_own_fault(0)
    assert not by_own_fault(1)
