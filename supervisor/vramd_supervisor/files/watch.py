"""Watches a folder of models and reports when something in it may have changed.

Each watch has its own thread, which may hang with its drive and blocks no other. What cannot be watched, such as a
network drive that others write to, is looked at by a rescan only.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from .walk import SUFFIX, stamp

log = logging.getLogger(__name__)

_TOGETHER_MS = 100
"""Changes that come within this time are told together."""
_LONGEST_MS = 1000
"""The same, if there is no end of them."""
PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
"""Between two reports; doubled each time while changes go on, as in a growing download."""
LOOK_S = 2.0
"""So often it is seen whether the folder is there, and still the same."""
AGAIN_S = 60.0
"""After the system has refused to watch."""
END_S = 2.0

Watching = Callable[[Path, threading.Event], Iterator[bool]]
"""Whether something has changed, every few seconds at least. Raises OSError or RuntimeError if it cannot watch."""


class Watch:
    """One folder with all below it, until this is left; it need not be there yet."""

    def __init__(self, folder: Path, changed: Callable[[], None], watching: Watching | None = None) -> None:
        """`changed` is called from the thread; `watching` is how a folder is watched, if not by the system."""
        self._folder = folder
        self._changed = changed
        self._watching = watching or changes
        self._over = threading.Event()
        self._refused = ""
        self._thread = threading.Thread(target=self._run, name=f"watch {folder}", daemon=True)

    def begin(self) -> None:
        """Returns at once."""
        try:
            self._thread.start()
        except RuntimeError as error:
            log.warning("%s is not watched: %s", self._folder, error)

    def leave(self) -> None:
        self._over.set()

    def join(self) -> None:
        """Waits until it has ended, for a moment at most: a thread that hangs is left behind."""
        if self._thread.is_alive():
            self._thread.join(END_S)

    def _run(self) -> None:
        while not self._over.is_set():
            is_now = stamp(self._folder)
            if is_now is None:
                self._over.wait(LOOK_S)
                continue
            try:
                self._watch(is_now.key)
            except ImportError as error:
                log.warning("%s is not watched, `vramd rescan` looks for new models: %s", self._folder, error)
                return
            except (OSError, RuntimeError) as error:
                if stamp(self._folder):  # else it has just gone
                    self._tell_refusal(str(error))
                    self._over.wait(AGAIN_S)

    def _watch(self, key: tuple[int, int]) -> None:
        """Returns once the folder has changed. What was there before counts too: it may have come meanwhile."""
        pause_s, told = PAUSE_S, False
        for something in self._watching(self._folder, self._over):
            is_now = stamp(self._folder)
            same = is_now is not None and is_now.key == key
            if something or not (told and same):
                told = True
                self._changed()
                self._over.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if something else PAUSE_S
            if not same or self._over.is_set():
                return

    def _tell_refusal(self, why: str) -> None:
        if why != self._refused:
            self._refused = why
            log.warning(
                "%s cannot be watched, `vramd rescan` looks for new models: %s (on Linux fs.inotify.max_user_watches "
                "limits it; `[server] watch = false` switches it off)",
                self._folder,
                why,
            )


def changes(folder: Path, over: threading.Event) -> Iterator[bool]:
    """The stamps of a folder."""
    from watchfiles import watch  # noqa: PLC0415  where it is missing, all else works

    for changed in watch(
        folder,
        watch_filter=lambda change, path: counts(change.name, path),
        debounce=_LONGEST_MS,
        step=_TOGETHER_MS,
        stop_event=over,
        rust_timeout=int(LOOK_S * 1000),
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        yield bool(changed)


def counts(change: str, path: str) -> bool:
    """Whether a change may be one of models: of such a file, or of what may be a folder of them."""
    return path.lower().endswith(SUFFIX) or change != "modified"
