"""A parent that is going to be killed: it brings one worker into each phase, tells their pids, and waits.

Run as a script; it ends when its stdin ends.
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.worker_process import WorkerProcess
from vramd_proto.internal.v1 import worker_pb2


def main() -> None:
    waiting, idle, loading, generating, stopped = (WorkerProcess() for _ in range(5))
    for worker in (idle, stopped):
        worker.meet()
    loading.meet()
    steps = loading.load(worker_pb2.SimulatedModel(load_s=100, context_tokens=128))
    generating.ready(tokens_per_s=20)
    stream = generating.generate(max_tokens=90_000)
    next(stream)
    if sys.platform == "linux":
        os.kill(stopped.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
    phases = {"no orders yet": waiting, "idle": idle, "loading": loading, "generating": generating, "stopped": stopped}
    print(json.dumps({phase: worker.pid for phase, worker in phases.items()}), flush=True)
    sys.stdin.read()
    assert steps is not None


if __name__ == "__main__":
    main()
