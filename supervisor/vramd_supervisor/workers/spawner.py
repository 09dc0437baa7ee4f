"""Starts the child processes, away from the event loop: an interpreter on a drive that is gone stops nobody."""

import threading

from ..threads.lane import Lane
from . import containment
from .process import HELLO_S, worker_arguments


class Spawner(Lane):
    """A lane whose thread, once begun, lives as long as this process: the children that it starts die with it."""

    def __init__(self, limit_s: float = HELLO_S) -> None:
        """A start that takes longer than `limit_s` is one that hangs."""
        super().__init__("the start of a process", limit_s)
        self._turns = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    async def start(self, role: str, cwd: str) -> containment.Child:
        """A process of the worker's package. Raises NoAnswerError and what Popen raises; then there is none.

        One that is started later, or that nobody waits for any more, is ended at once.
        """
        return await self.run(lambda: containment.start(worker_arguments(role), cwd), late=containment.discard)

    def _take_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work_on, name="spawner", daemon=True)
            thread.start()
            self._thread = thread
        self._turns.release()

    def _work_on(self) -> None:
        while self._turns.acquire():
            self._work()
