"""Moving lines on a terminal. Imported only when a person looks on."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from vramd_common.printable import printable

from .output import Progress


class Drawn(Progress):
    """A bar on stderr."""

    def __init__(self, bar: Bar, model: str) -> None:
        self._bar = bar
        self._model = model
        self._task = bar.add_task(escape(printable(model)), total=None)

    def show(self, words: str, share: float | None) -> None:
        """Moves the bar; without a share it only shows that something goes on."""
        label = escape(printable(f"{self._model}: {words}"))
        total = None if share is None else 1.0
        self._bar.update(self._task, description=label, completed=share or 0.0, total=total, refresh=True)


@contextmanager
def drawn_progress(model: str) -> Iterator[Progress]:
    """A bar that is gone when the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Drawn(bar, model)
