"""Which line tells why a process gave itself up, and when the machine was the trouble and not the model."""

import signal
import sys

import pytest
from vramd_supervisor.workers.containment import by_own_fault
from vramd_supervisor.workers.last_words import blames_the_machine, telling

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


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_process_that_was_killed_is_not_at_fault() -> None:
    faults = [getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")]
    others = [getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")]
    assert all(by_own_fault(-one) for one in faults)
    assert not any(by_own_fault(-one) for one in others)
    assert not by_own_fault(0)
    assert not by_own_fault(1)
