"""Looks for models in folders and reads what their headers say. Loads nothing; nothing that lies there can block it.

Reads files; decides nothing about ids or settings, `listing` does.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vramd_proto.v1.reasons import Reason

from ..core.catalog import ModelFile, Problem
from ..core.config import Config
from ..core.listing import name_files
from .gguf_header import read_header
from .gguf_model import describe, is_projector
from .gguf_values import Header, UnreadableModelError

_log = logging.getLogger(__name__)

_SUFFIX = ".gguf"
_SHARD = re.compile(r"(?P<base>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)
_MOST_SHARDS = 1000
_DEEPEST = 32

FileKey = tuple[int, int]
"""Device and inode: one real file under all its names."""


@dataclass(frozen=True)
class _Seen:
    """A directory entry that looks like a model."""

    path: Path
    link: bool
    key: FileKey | None
    """None: a symlink that leads nowhere."""


def folders_to_scan(config: Config, environment: Mapping[str, str], home: Path) -> list[Path]:
    """The configured folders, and the caches of LM Studio and Hugging Face where the configuration wants them."""
    folders = [Path(folder) for folder in config.server.models]
    if config.server.lm_studio:
        folders += [folder for folder in lm_studio_folders(home) if folder.is_dir()]
    if config.server.hugging_face:
        folders += [folder for folder in [hugging_face_folder(environment, home)] if folder.is_dir()]
    return folders


def lm_studio_folders(home: Path) -> list[Path]:
    """Where LM Studio keeps models, now and before version 0.3.4."""
    return [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]


def hugging_face_folder(environment: Mapping[str, str], home: Path) -> Path:
    """The Hugging Face cache, as huggingface_hub finds it. Models lie there as links in `snapshots`."""
    if hub := environment.get("HF_HUB_CACHE"):
        return Path(hub).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(environment.get("HF_HOME") or Path(cache, "huggingface")).expanduser() / "hub"


def discover(folders: Sequence[Path]) -> dict[str, ModelFile]:
    """The models in these folders and all below them, by id. Reads every header, so it may take seconds.

    What cannot be read is logged and passed over; a damaged model is listed with its problem.
    """
    files: dict[Path, ModelFile] = {}
    projectors: dict[Path, str] = {}
    # From the last to the first: what lies in a folder before the folder, and of several projectors the first stays.
    for paths in reversed(_sets(_once(_walk(folders)))):
        first = paths[0]
        try:
            headers = _headers(paths)
            if is_projector(headers[0]) or first.name.lower().startswith("mmproj"):
                projectors[first.parent] = str(first)
                continue
            files[first] = describe(str(first), headers)
        except UnreadableModelError as error:
            if first.name.lower().startswith("mmproj"):
                _log.warning("%s is no projector: %s", first, error)
            elif not _holds(first, files):
                files[first] = _broken(first, error.problem)
    attached = {
        path: replace(file, projector_path=projectors.get(path.parent, "")) if file.problem is None else file
        for path, file in files.items()
    }
    return name_files({_readable(str(path)): (_base(path), file) for path, file in attached.items()})


def _holds(path: Path, files: Iterable[Path]) -> bool:
    """True for a folder that is called like a model and has models in it."""
    return any(path in file.parents for file in files)


def configured_files(config: Config, base: Path, found: Iterable[ModelFile]) -> dict[str, ModelFile]:
    """The file of every configured model that has a path, by the model's id; relative paths start at `base`.

    A file that the scan has found is that one's value, under whatever name it was found.
    """
    by_key = {key: file for file in found if (key := _key(Path(file.path))) is not None}
    files = {}
    for model, settings in config.models.items():
        if settings.path is not None:
            path = _located(settings.path, base, config.server.models)
            files[model] = by_key.get(_key(path) or (-1, -1)) or read_model(path)
    return files


def _located(path: str, base: Path, folders: Sequence[str]) -> Path:
    """Where a configured path leads: beside the configuration, else in a folder; if nowhere, the first."""
    given = Path(path).expanduser()
    candidates = [Path(os.path.abspath(root / given)) for root in (base, *map(Path, folders))]  # noqa: PTH100  keeps links
    return next((candidate for candidate in candidates if os.path.lexists(candidate)), candidates[0])


def read_model(path: Path) -> ModelFile:
    """One model by its path; of several shards any will do."""
    return read_with_headers(path)[0]


def read_with_headers(path: Path) -> tuple[ModelFile, list[Header]]:
    """One model, and the headers of its files, the first shard first; none where the model has a problem."""
    shard = _SHARD.fullmatch(path.name)
    count = int(shard["count"]) if shard else 1
    paths = [path]
    if shard and 1 < count <= _MOST_SHARDS:
        paths = [path.with_name(_shard_name(shard, number)) for number in range(1, count + 1)]
        paths = [part for part in paths if part.exists()] or [path]
    try:
        headers = _headers(paths)
        return describe(str(paths[0]), headers), headers
    except UnreadableModelError as error:
        return _broken(paths[0], error.problem), []


def _key(path: Path) -> FileKey | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _walk(folders: Iterable[Path]) -> Iterator[_Seen]:
    """Everything named like a model. Each real folder is looked into once, so links in a circle do no harm."""
    looked: set[FileKey] = set()
    waiting = [(Path(os.path.abspath(folder)), 0) for folder in reversed(list(folders))]  # noqa: PTH100  keeps links
    while waiting:
        folder, depth = waiting.pop()
        key = _key(folder)
        if key in looked:
            continue
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            _log.warning("cannot look for models in %s: %s", folder, error.strerror)
            continue
        if key is not None:
            looked.add(key)
        below = []
        for entry in entries:
            if _is_folder(entry):
                below.append((Path(entry.path), depth + 1))
            if entry.name.lower().endswith(_SUFFIX) and not entry.name.startswith("."):
                yield _Seen(Path(entry.path), entry.is_symlink(), _key(Path(entry.path)))
        if depth < _DEEPEST:
            waiting += reversed(below)
        elif below:
            _log.warning("does not look for models deeper than %s", folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _once(seen: Iterable[_Seen]) -> list[Path]:
    """One name for each real file: its own rather than a link's."""
    chosen: dict[FileKey | Path, Path] = {}
    for entry in sorted(seen, key=lambda entry: entry.link):
        chosen.setdefault(entry.key or entry.path, entry.path)
    return sorted(chosen.values())


def _sets(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups the shards of a model; every other file stands alone."""
    groups: dict[tuple[Path, str, int], list[Path]] = {}
    for path in paths:
        shard = _SHARD.fullmatch(path.name)
        count = int(shard["count"]) if shard else 0
        shared = (path.parent, shard["base"], count) if shard and 1 < count <= _MOST_SHARDS else (path, "", 0)
        groups.setdefault(shared, []).append(path)
    return list(groups.values())


def _shard_name(shard: re.Match[str], number: int) -> str:
    return f"{shard['base']}-{number:05}-of-{shard['count']}{shard['suffix']}"


def _headers(paths: Sequence[Path]) -> list[Header]:
    """All headers of one model. Raises UnreadableModelError, also for shards that are not there."""
    shard = _SHARD.fullmatch(paths[0].name)
    names = {path.name for path in paths}
    if shard and 1 < int(shard["count"]) <= _MOST_SHARDS:
        wanted = [_shard_name(shard, number) for number in range(1, int(shard["count"]) + 1)]
        if missing := [name for name in wanted if name not in names]:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            text = f"of its {len(wanted)} shards these are missing: {', '.join(missing[:3])}{more}"
            raise UnreadableModelError(Reason.MODEL_FILE_INVALID, text)
    if not _encodable(paths[0]):
        raise UnreadableModelError(Reason.MODEL_PATH_INVALID, "its path is no UTF-8")
    return [read_header(path) for path in paths]


def _encodable(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(text: str) -> str:
    """Bytes of a name that are no UTF-8 become escapes, so that the name can be sent."""
    return text.encode("utf-8", "backslashreplace").decode()


def _base(path: Path) -> str:
    """The file's name as a model is called by it: without shard numbers and suffix."""
    shard = _SHARD.fullmatch(path.name)
    count = int(shard["count"]) if shard else 0
    return _readable(shard["base"] if shard and 1 < count <= _MOST_SHARDS else path.name[: -len(_SUFFIX)])


def _broken(path: Path, problem: Problem) -> ModelFile:
    try:
        size_bytes = path.stat().st_size
    except (OSError, ValueError):
        size_bytes = 0
    return ModelFile(_readable(str(path)), size_bytes, problem=replace(problem, text=_readable(problem.text)))
