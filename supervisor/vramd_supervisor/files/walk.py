"""Walks through folders: what is called like a model there, and which folders could be read. Reads no file."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)

SUFFIX = ".gguf"
_DEEPEST = 32

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
    """A folder that could be read."""

    key: FileKey
    empty: bool
    root: bool
    mounted: bool
    """It lies on another device than the folder around it."""


@dataclass
class Walk:
    """What there was."""

    files: list[Seen] = field(default_factory=list)
    folders: dict[Path, Folder] = field(default_factory=dict)


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


def walk(roots: Iterable[Path]) -> Walk:
    """Everything in these folders and all below them.

    Each real folder is looked into once, under its own name rather than a link's, so links in a circle do no harm.
    What cannot be read is logged and passed over.
    """
    found, looked = Walk(), set[FileKey]()
    for number, root in enumerate(map(absolute, roots)):
        waiting, links = [(root, 0)], list[tuple[Path, int]]()
        while waiting or links:
            folder, depth = waiting.pop() if waiting else links.pop(0)
            key = stamp(folder)
            if key and key.key in looked:
                continue
            try:
                with os.scandir(folder) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError as error:
                _log.warning("cannot look for models in %s: %s", folder, error.strerror)
                continue
            if key:
                looked.add(key.key)
                around = found.folders.get(folder.parent)
                mounted = around is not None and around.key[0] != key.key[0]
                found.folders[folder] = Folder(key.key, not entries, not depth, mounted)
            below = list[tuple[Path, int]]()
            for entry in entries:
                path = Path(entry.path)
                if _is_folder(entry):
                    (links if entry.is_symlink() else below).append((path, depth + 1))
                if entry.name.lower().endswith(SUFFIX) and not entry.name.startswith("."):
                    found.files.append(Seen(path, entry.is_symlink(), stamp(path), number))
            if depth < _DEEPEST:
                waiting += reversed(below)
            elif below:
                _log.warning("does not look for models deeper than %s", folder)
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_away(path: Path, before: Mapping[Path, Folder], now: Mapping[Path, Folder]) -> str:
    """Why a file that was there before may still be: a folder on the way to it is not as it was. Empty: it is gone."""
    for folder in reversed(path.parents):
        was, is_now = before.get(folder), now.get(folder)
        if was is None:
            continue
        if is_now is None:
            if was.root or was.mounted or os.path.lexists(folder):
                return f"{folder} cannot be read"
            return ""
        if is_now.empty and is_now.key != was.key:
            return f"{folder} is empty, as a folder is that a drive is missing from"
    return ""
