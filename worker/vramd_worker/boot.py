"""The first statements of a worker process: a script, started by its path as `python -I boot.py vramd_worker`.

The argument names the process in listings; `vramd_quoter` makes it the helper that plans loads and performs none.
Until the orders arrive only the standard library is available, and until the process is tied to its parent, nothing
slow or native may run here.
"""

import ctypes
import json
import os
import sys

MOST_ORDER_BYTES = 64 * 1024
QUOTER = "vramd_quoter"
PR_SET_PDEATHSIG = 1
SIGKILL = 9


def die_with_parent() -> None:
    """Has Linux kill this process with the thread that spawned it, even while it is stopped or hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def read_orders() -> tuple[bytes, bytes]:
    """Waits for the supervisor's line on stdin; returns it and any bytes after it. Without one it ends the process."""
    line = b""
    while b"\n" not in line:
        read = os.read(0, MOST_ORDER_BYTES)
        line += read
        if not read or len(line) > MOST_ORDER_BYTES:
            sys.exit("vramd worker: no orders on stdin. A worker is started by the supervisor only: `vramd serve`")
    orders, _, more = line.partition(b"\n")
    return orders, more


def find_packages_in(folders: list[str]) -> None:
    """Searches these folders before site-packages, but after the standard library: one may hold an `asyncio` too."""
    installed = ("site-packages", "dist-packages")
    at = next((at for at, folder in enumerate(sys.path) if folder.endswith(installed)), len(sys.path))
    sys.path[at:at] = folders


def main() -> None:
    """Starts the worker or the quote helper; returns when the process may end."""
    die_with_parent()
    line, more = read_orders()
    orders = json.loads(line)
    parent_pid = int(orders["parent_pid"])
    if sys.platform != "win32" and os.getppid() != parent_pid:
        sys.exit("vramd worker: its supervisor is gone")
    find_packages_in(orders["paths"])

    # Only now can our own packages be found.
    from vramd_worker import childless, containment, lifeline  # noqa: PLC0415

    alone = childless.forbid_children()
    if sys.argv[1:] == [QUOTER]:
        requests_fd = lifeline.take(parent_pid)
        containment.step_back()
        answers_fd = containment.take_stdout()
        from vramd_worker import quoter  # noqa: PLC0415

        quoter.run(requests_fd, more, answers_fd)
        return
    lifeline.hold(parent_pid, alone)
    containment.step_back()
    hello_fd = containment.take_stdout()

    # This import loads native libraries, so it comes last.
    from vramd_worker import main as worker  # noqa: PLC0415

    worker.run(line, hello_fd)


if __name__ == "__main__":
    main()
