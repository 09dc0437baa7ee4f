"""The thread that prepares prompts, so that neither the event loop nor the decode thread waits for a template."""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable


class Desk:
    """Does what it is handed, one after the other, in a thread of its own."""

    def __init__(self) -> None:
        self._pile: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="prompts", daemon=True)
        self._thread.start()

    def add(self, what: Callable[[], None]) -> None:
        """Puts it at the end of the pile; returns at once. It must not raise. From any thread."""
        self._pile.put(what)

    def close(self) -> None:
        """Ends the thread behind what lies there already, and waits for it."""
        self._pile.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (what := self._pile.get()) is not None:
                what()
        except BaseException:
            # Requests would hang behind a thread that is gone; behind a process that is gone they do not.
            traceback.print_exc()
            sys.stderr.flush()
            os.abort()
