"""Walks through folders: what is called like a model there, and which folders could be read. Reads no file."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..threads.concurrent_calls import ConcurrentCalls
from ..threads.serial_calls import NoAnswerError

_log = logging.getLogger(__name__)

SUFFIX = ".gguf"
_DEEPEST = 32
_AT_ONCE = 16

FileKey = tuple[int, int]
"""Device and inode: one real file or folder under all its names."""


@dataclass(frozen=True)
class Stamp:
    """A real file or folder, and as it was; another one means that it has changed."""

    key: FileKey
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Seen:
    """A directory entry that is called like a model."""

    path: Path
    link: bool
    stamp: Stamp | None
    """None: a symlink that leads nowhere."""
    root: int
    """Which of the folders it was found in, counted from 0."""

    @property
    def order(self) -> tuple[int, int, str]:
        """Files of the first folders come first, then those that lie less deep."""
        return self.root, len(self.path.parts), str(self.path)


@dataclass(frozen=True)
class Folder:
    key: FileKey
    empty: bool
    root: bool
    mounted: bool
    """It lies on another device than the folder around it."""


@dataclass
class Walk:
    """The last look."""

    files: list[Seen] = field(default_factory=list)
    folders: dict[Path, Folder] = field(default_factory=dict)
    unanswered: set[Path] = field(default_factory=set)
    """Folders that did not answer in time."""

    def hides(self, path: Path) -> bool:
        """Whether it lies in a folder that does not answer, or is one."""
        return not self.unanswered.isdisjoint((path, *path.parents))


def stamp(path: Path) -> Stamp | None:
    """None where nothing is, or where that cannot be told."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)


def absolute(path: Path) -> Path:
    """Without following links."""
    return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow them


@dataclass(frozen=True)
class _Entry:
    """An entry of a folder: a folder, or a file called like a model."""

    path: Path
    folder: bool
    stamp: Stamp | None
    link: bool = False


@dataclass(frozen=True)
class _Listing:
    stamp: Stamp | None
    entries: tuple[_Entry, ...]
    links: tuple[Path, ...]
    """Where these lead is not looked at yet: that may be on another drive."""
    empty: bool


class Walker:
    """Walks, and remembers what did not answer: that is not asked again until it has answered."""

    def __init__(self, patience_s: float, on_late: Callable[[], None] = lambda: None) -> None:
        """Each folder and each link is waited for so long; `on_late` is called when one answers after that."""
        self._folders: ConcurrentCalls[_Listing | OSError] = ConcurrentCalls(patience_s, _AT_ONCE, on_late)
        self._links: ConcurrentCalls[_Entry] = ConcurrentCalls(patience_s, _AT_ONCE, on_late)

    def walk(self, roots: Sequence[Path], perhaps: Sequence[Path] = ()) -> Walk:
        """Everything in these folders and all below them; `perhaps` are further ones that need not be there.

        Each real folder is looked into once, under its own name rather than a link's, so links in a circle do no harm.
        What cannot be read, or does not answer, is logged and passed over.
        """
        found, looked = Walk(), set[FileKey]()
        for number, root in enumerate(map(absolute, (*roots, *perhaps))):
            level, links, depths = [root], deque[Path](), {root: 0}
            while level or links:
                level = level or [links.popleft()]
                below = list[Path]()
                for folder, listing in self._listings(level, found, may_lack=number >= len(roots)):
                    if listing.stamp and listing.stamp.key in looked:
                        continue
                    if listing.stamp:
                        looked.add(listing.stamp.key)
                        around = found.folders.get(folder.parent)
                        mounted = around is not None and around.key[0] != listing.stamp.key[0]
                        found.folders[folder] = Folder(listing.stamp.key, listing.empty, folder == root, mounted)
                    inside = (*listing.entries, *self._led_to(listing.links, found))
                    models = [one for one in inside if _is_model(one.path)]
                    found.files += [Seen(one.path, one.link, one.stamp, number) for one in models]
                    folders = [one for one in inside if one.folder]
                    if folders and depths[folder] == _DEEPEST:
                        _log.warning("does not look for models deeper than %s", folder)
                        continue
                    depths.update((one.path, depths[folder] + 1) for one in folders)
                    below += [one.path for one in folders if not one.link]
                    links.extend(one.path for one in folders if one.link)
                level = below
        return found

    def _listings(self, folders: Sequence[Path], found: Walk, *, may_lack: bool) -> Iterator[tuple[Path, _Listing]]:
        answers = self._folders.run({str(folder): partial(_list, folder) for folder in folders})
        for folder in folders:
            listing = answers[str(folder)]
            if isinstance(listing, _Listing):
                yield folder, listing
                continue
            if may_lack and isinstance(listing, FileNotFoundError):
                continue
            if isinstance(listing, NoAnswerError):
                found.unanswered.add(folder)
            why = listing.strerror if isinstance(listing, OSError) else "it gives no answer; is its drive there?"
            _log.warning("cannot look for models in %s: %s", folder, why)

    def _led_to(self, links: Sequence[Path], found: Walk) -> Iterator[_Entry]:
        answers = self._links.run({str(link): partial(_follow, link) for link in links})
        for link in links:
            end = answers[str(link)]
            if isinstance(end, NoAnswerError):
                found.unanswered.add(link)
                end = _Entry(link, False, None, True)
            yield end


def _is_model(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIX) and not path.name.startswith(".")


def _list(folder: Path) -> _Listing | OSError:
    try:
        is_now = stamp(folder)
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        return error
    links = tuple(Path(entry.path) for entry in entries if entry.is_symlink())
    own = [(Path(entry.path), _is_folder(entry)) for entry in entries if not entry.is_symlink()]
    kept = tuple(_Entry(path, is_in, stamp(path)) for path, is_in in own if is_in or _is_model(path))
    return _Listing(is_now, kept, links, not entries)


def _follow(link: Path) -> _Entry:
    return _Entry(link, _is_folder(link), stamp(link), True)


def _is_folder(entry: "os.DirEntry[str] | Path") -> bool:
    """False also where that is unknown: behind missing permissions, or on a drive that is gone."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_away(path: Path, before: Mapping[Path, Folder], now: Walk) -> str:
    """Why a file that was there before may still be: a folder on the way to it is not as it was. Empty: it is gone."""
    for folder in reversed(path.parents):
        was, is_now = before.get(folder), now.folders.get(folder)
        if folder in now.unanswered:
            return f"{folder} gives no answer"
        if was is None:
            continue
        if is_now is None:
            if was.root or was.mounted or os.path.lexists(folder):
                return f"{folder} cannot be read"
            return ""
        if is_now.empty and is_now.key != was.key:
            return f"{folder} is empty, as a folder is that a drive is missing from"
    return ""
