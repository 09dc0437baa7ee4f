"""Forbids this process to start others, so that none can outlive it. Standard library only.

Linux does so by a filter of system calls (seccomp), on the processors listed here. Elsewhere a worker's children end
with their group: by the supervisor as long as it lives, by the worker's own lifeline after that.
"""

import ctypes
import errno
import os
import sys
from typing import NamedTuple

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE_WITH = 0x7FFF0000, 0x00050000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO."""
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF_LD+W+ABS, BPF_JMP+JEQ, BPF_JMP+JSET, BPF_RET."""
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in struct seccomp_data; both processors are little-endian."""
CLONE_THREAD = 0x10000
CLONE3 = 435
"""Has its flags in memory, which a filter cannot read. With ENOSYS the C library takes `clone` instead."""


class Processor(NamedTuple):
    """System call numbers of one kind of processor, from the kernel's tables."""

    architecture: int
    clone: int
    others: tuple[int, ...]
    """fork, vfork, execve, execveat."""


PROCESSORS = {
    "x86_64": Processor(0xC000003E, 56, (57, 58, 59, 322)),
    "aarch64": Processor(0xC00000B7, 220, (221, 281)),
}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def forbid_children() -> bool:
    """Has the kernel refuse new processes and programs to this thread and all that it starts; whether it does.

    New threads are allowed. Not to be undone. Calls for another processor's numbers are refused altogether.
    """
    if sys.platform == "linux":
        processor = PROCESSORS.get(os.uname().machine)
        if processor and sys.maxsize > 1 << 32:
            return _install(b"".join(_filter(processor)))
    return False


def _install(steps: bytes) -> bool:
    held = ctypes.create_string_buffer(steps, len(steps))
    program = _Program(len(steps) // 8, ctypes.addressof(held))
    prctl = ctypes.CDLL(None).prctl
    return not prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) and not prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    )


def _filter(processor: Processor) -> list[bytes]:
    refused, unknown = REFUSE_WITH | errno.EPERM, REFUSE_WITH | errno.ENOSYS
    others = [_step(EQUAL, number, 0, 1) + _step(RETURN, refused) for number in processor.others]
    return [
        _step(LOAD, ARCHITECTURE_AT),
        _step(EQUAL, processor.architecture, 1, 0),
        _step(RETURN, refused),
        _step(LOAD, NUMBER_AT),
        # x86_64 knows its calls under a second set of numbers (x32), with this bit.
        _step(ANY_BIT, 0x40000000, 0, 1),
        _step(RETURN, refused),
        *others,
        _step(EQUAL, CLONE3, 0, 1),
        _step(RETURN, unknown),
        _step(EQUAL, processor.clone, 1, 0),
        _step(RETURN, ALLOW),
        _step(LOAD, FIRST_ARGUMENT_AT),
        _step(ANY_BIT, CLONE_THREAD, 0, 1),
        _step(RETURN, ALLOW),
        _step(RETURN, refused),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter; the jumps count the steps to skip."""
    return code.to_bytes(2, "little") + bytes((if_true, if_false)) + value.to_bytes(4, "little")
