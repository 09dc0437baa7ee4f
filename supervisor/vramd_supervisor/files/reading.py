"""How long the files of models are waited for, and what is known of one that does not answer."""

from pathlib import Path

from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile, Problem
from ..threads.lane import Lanes, NoAnswerError

READ_S = 10.0
"""For a header: milliseconds, a second over a network, some when a disk has to spin up."""
PATIENCE_S = 2.0
"""For each folder and each file, while the catalogue is read: what takes longer is listed when it has answered."""
_AT_ONCE = 64
"""Many: those that hang hold up the others for a while."""
_MOST = 128


def reading_lanes() -> Lanes:
    """One on a drive that is gone keeps nobody from the others."""
    return Lanes(READ_S, _AT_ONCE, _MOST)


def unanswered(path: Path, error: NoAnswerError) -> ModelFile:
    """A model of which nothing else is known."""
    name = str(path).encode("utf-8", "backslashreplace").decode()
    return ModelFile(name, 0, problem=Problem(Reason.FILE_UNANSWERED, f"{error}; is its drive there?"))
