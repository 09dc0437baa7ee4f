"""Looks for models in folders and reads what their headers say. Loads nothing; nothing that lies there can block it.

Ids and settings are decided by `listing`.
"""

import copy
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile, Problem
from ..domain.config import Config
from ..settings.listing import Found, Looked, by_name, called
from ..threads.concurrent_calls import ConcurrentCalls
from ..threads.serial_calls import NoAnswerError, SerialCallsByName
from .gguf_header import read_header
from .gguf_model import describe, is_projector
from .gguf_values import Header, UnreadableModelError
from .projectors import attach, is_called_projector
from .shards import Group, check_headers, check_names, group, name_of, part_of
from .walk import FileKey, Folder, Stamp, Walk, Walker, absolute, is_away, stamp

_log = logging.getLogger(__name__)

READ_S = 10.0
"""For a header: milliseconds, a second over a network, some when a disk has to spin up."""
PATIENCE_S = 2.0
"""For each folder and each file, while the catalogue is read: what takes longer is listed when it has answered."""
_AT_ONCE = 64
"""Many: those that hang hold up the others for a while."""
_MOST = 128

_READ_AT_ONCE = 16
_CACHE_VARIABLES = ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""That say where models of others lie."""


def caches_of_others(config: Config, environment: Mapping[str, str], home: Path) -> list[Path]:
    """Where LM Studio and Hugging Face keep models, or would, if the configuration wants those."""
    folders = lm_studio_folders(home) if config.server.lm_studio else []
    return [*folders, hugging_face_folder(environment, home)] if config.server.hugging_face else folders


def roots(config: Config, environment: Mapping[str, str], home: Path) -> list[Path]:
    """All folders that are looked into."""
    folders = [*map(Path, config.server.models), *caches_of_others(config, environment, home)]
    return [absolute(folder) for folder in folders]


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def lm_studio_folders(home: Path) -> list[Path]:
    """Where LM Studio keeps models, now and before version 0.3.4."""
    return [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]


def hugging_face_folder(environment: Mapping[str, str], home: Path) -> Path:
    """The Hugging Face cache, as huggingface_hub finds it. Models lie there as links in `snapshots`."""
    if hub := environment.get("HF_HUB_CACHE"):
        return Path(hub).expanduser()
    cache = environment.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(environment.get("HF_HOME") or Path(cache, "huggingface")).expanduser() / "hub"


class Discovery:
    """Looks into the folders of a configuration, and remembers what it has read: only what has changed is read again.

    What does not answer is waited for a moment, then passed over until it has answered. Not for two threads at once.
    """

    def __init__(
        self,
        config: Config,
        base: Path,
        environment: Mapping[str, str],
        home: Path,
        on_late: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`base` is where relative paths of the configuration start; the others tell where caches lie.

        `on_late` is called, from any thread, when something has answered that was passed over.
        """
        self._config = config
        self._base = base
        # As they are meant now: the folder that this was started in may be gone later.
        named = {name: environment[name] for name in _CACHE_VARIABLES if environment.get(name)}
        self._environment = {name: str(absolute(Path(value).expanduser())) for name, value in named.items()}
        self._home = home
        self._walker = Walker(patience_s, on_late)
        self._reading: ConcurrentCalls[ModelFile | None] = ConcurrentCalls(patience_s, _READ_AT_ONCE, on_late)
        self._locating: ConcurrentCalls[ModelFile] = ConcurrentCalls(patience_s, _READ_AT_ONCE, on_late)
        self._read: dict[object, ModelFile | None] = {}
        """By path and stamp of each of a model's files; None: a projector."""
        self._folders: dict[Path, Folder] = {}
        """Folders with models, as they were when they could be read."""
        self._doubtful: dict[Path, Stamp | None] = {}
        """Stamps that must differ before a further look can find anything else."""

    def with_config(self, config: Config) -> "Discovery":
        """Makes one that looks by another configuration, and knows what this one has read."""
        other = copy.copy(self)
        other._config = config
        before, left = self._roots(), other._roots()
        # A folder that is not looked into any more is not one that cannot be read.
        other._folders = {
            folder: seen for folder, seen in self._folders.items() if _below(folder, left) or not _below(folder, before)
        }
        return other

    def _roots(self) -> list[Path]:
        return roots(self._config, self._environment, self._home)

    def look(self, before: Mapping[str, ModelFile]) -> Looked:
        """Returns what there is now; `before` has the files that were known, by id.

        A folder that cannot be read any more keeps its last models, with the problem.
        """
        own = [absolute(Path(folder)) for folder in self._config.server.models]
        caches = [absolute(cache) for cache in caches_of_others(self._config, self._environment, self._home)]
        walked = self._walker.walk(own, caches)
        known = {file.path: file for file in before.values() if file.path}
        found = self._found(walked, known)
        there = {one.file.path for one in found}
        found += self._away({path: file for path, file in known.items() if path not in there}, walked)
        configured = self._configured(found, walked)
        lost = [folder for folder in self._folders if is_away(folder / "any", self._folders, walked)]
        self._folders = walked.folders | {folder: self._folders[folder] for folder in lost}
        looked = Looked(found, configured)
        self._doubtful = self._doubts(
            [*own, *(cache for cache in caches if cache in walked.folders)], looked, before, walked
        )
        return looked

    def has_changed(self) -> bool:
        """Whether a further look may find something else in place of what has a problem."""
        return any(stamp(path) != was for path, was in self._doubtful.items())

    def _found(self, walked: Walk, known: Mapping[str, ModelFile]) -> list[Found]:
        """The models of the folders, each with the projector that belongs to it."""
        read: dict[object, ModelFile | None] = {}
        models, projectors = dict[Path, list[Found]](), dict[Path, list[Group]]()
        groups = {tuple((seen.path, seen.stamp) for seen in one.files): one for one in group(walked.files, known)}
        unread = {str(one.first): partial(_describe, one) for key, one in groups.items() if key not in self._read}
        answers = self._reading.run(unread)
        for key, one in groups.items():
            file = self._read[key] if key in self._read else answers[str(one.first)]
            if isinstance(file, NoAnswerError):
                file = unanswered(one.first, file)
            else:
                read[key] = file
            if file is None:
                projectors.setdefault(one.first.parent, []).append(one)
            elif not (file.problem and (is_called_projector(one.part.base) or _holds(one.first, walked))):
                models.setdefault(one.first.parent, []).append(Found(_readable(one.part.base), file))
        self._read = read
        found = []
        for folder, inside in models.items():
            eyes = {str(one.first): one.part.base for one in projectors.get(folder, ())}
            mine = attach({one.file.path: one.base for one in inside if one.file.problem is None}, eyes)
            found += [
                replace(one, file=replace(one.file, projector_path=mine.get(one.file.path, ""))) for one in inside
            ]
        return found

    def _away(self, missing: Mapping[str, ModelFile], walked: Walk) -> list[Found]:
        found = []
        for path, file in missing.items():
            if why := is_away(Path(path), self._folders, walked):
                reason = Reason.FILE_UNANSWERED if walked.hides(Path(path)) else Reason.MODEL_FILE_MISSING
                problem = Problem(reason, f"{path} is not there: {why}")
                found.append(Found(_readable(part_of(Path(path)).base), replace(file, problem=problem)))
        return found

    def _configured(self, found: Iterable[Found], walked: Walk) -> dict[str, ModelFile]:
        """The file of every configured model that has a path, by the model's id.

        A file that the scan has found is that one's value, under whatever name it was found.
        """
        stamps = {str(seen.path): seen.stamp for seen in walked.files}
        by_key = {was.key: one.file for one in found if (was := stamps.get(one.file.path))}
        paths = {
            model: self._candidates(settings.path)
            for model, settings in self._config.models.items()
            if settings.path is not None
        }
        answers = self._locating.run({str(one[0]): partial(_locate, one, by_key) for one in paths.values()})
        files = {}
        for model, (first, *_) in paths.items():
            file = answers[str(first)]
            files[model] = unanswered(first, file) if isinstance(file, NoAnswerError) else file
        return files

    def _candidates(self, path: str) -> list[Path]:
        """Where a configured path may lead: beside the configuration, or in a folder."""
        roots = (self._base, *map(Path, self._config.server.models))
        return [absolute(root / Path(path).expanduser()) for root in roots]

    def _doubts(
        self, roots: Sequence[Path], looked: Looked, before: Mapping[str, ModelFile], walked: Walk
    ) -> dict[Path, Stamp | None]:
        """Every file of what has a problem or is missing, the folders around, and where else it could be.

        What did not answer tells by itself when it does.
        """
        paths = {root for root in roots if root not in walked.folders}
        missing = by_name(self._config) - called(self._config, looked.found, before).keys()
        files = [one.file.path for one in looked.found if _may_be_mended(one.file)]
        files += [before[id_].path if id_ in before else "" for id_ in missing]
        for id_, file in looked.configured.items():
            if _may_be_mended(file):
                files.append(file.path)
                paths |= set(self._candidates(self._config.models[id_].path or ""))
        if files:
            paths |= set(roots)
        for first in map(Path, filter(None, files)):
            part = part_of(first)
            paths |= {first, first.parent, *(first.with_name(name_of(part, n + 1)) for n in range(part.count))}
        if "" in files:  # it may come to lie in any of them
            paths |= self._folders.keys()
        return {path: stamp(path) for path in paths if not walked.hides(path)}


def _may_be_mended(file: ModelFile) -> bool:
    return file.problem is not None and file.problem.reason is not Reason.FILE_UNANSWERED


def _holds(path: Path, walked: Walk) -> bool:
    """True for a folder that is called like a model and has models in it."""
    return path in walked.folders and any(path in seen.path.parents for seen in walked.files)


def _locate(candidates: Sequence[Path], found: Mapping[FileKey, ModelFile]) -> ModelFile:
    """The first that is there, as it was found; if none is, the first."""
    path = next((candidate for candidate in candidates if os.path.lexists(candidate)), candidates[0])
    is_now = stamp(path)
    return (found.get(is_now.key) if is_now else None) or read_model(path)


def _describe(one: Group) -> ModelFile | None:
    """Describes a model by its headers; None for a projector."""
    paths = [seen.path for seen in one.files]
    try:
        headers = _headers(paths)
        if is_projector(headers[0]):
            return None
        return _described(paths, headers)
    except UnreadableModelError as error:
        if is_called_projector(one.part.base):
            _log.warning("%s is no projector: %s", one.first, error)
        return _broken(one.first, error.problem)


def read_model(path: Path) -> ModelFile:
    """One model by its path; of several shards any will do."""
    return read_with_headers(path)[0]


def read_with_headers(path: Path) -> tuple[ModelFile, list[Header]]:
    """One model, and the headers of its files, the first shard first; none where the model has a problem."""
    part = part_of(path)
    paths = [path]
    if part.count > 1:
        shards = [path.with_name(name_of(part, number)) for number in range(1, part.count + 1)]
        paths = [shard for shard in shards if stamp(shard)]
        paths = paths if path in paths else sorted((path, *paths))
    try:
        headers = _headers(paths)
        return _described(paths, headers), headers
    except UnreadableModelError as error:
        return _broken(paths[0], error.problem), []


def _headers(paths: Sequence[Path]) -> list[Header]:
    """All headers of one model. Raises UnreadableModelError, also for shards that are not there."""
    check_names(paths)
    if not _encodable(paths[0]):
        raise UnreadableModelError(Reason.MODEL_PATH_INVALID, "its path is no UTF-8")
    return [read_header(path) for path in paths]


def _described(paths: Sequence[Path], headers: Sequence[Header]) -> ModelFile:
    check_headers(paths, headers)
    is_now = stamp(paths[0])
    return replace(describe(str(paths[0]), headers), modified_ns=is_now.modified_ns if is_now else 0)


def _encodable(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(text: str) -> str:
    """Bytes of a name that are no UTF-8 become escapes, so that the name can be sent."""
    return text.encode("utf-8", "backslashreplace").decode()


def _broken(path: Path, problem: Problem) -> ModelFile:
    is_now = stamp(path)
    size_bytes, modified_ns = (is_now.size_bytes, is_now.modified_ns) if is_now else (0, 0)
    problem = replace(problem, text=_readable(problem.text))
    return ModelFile(_readable(str(path)), size_bytes, problem=problem, modified_ns=modified_ns)


def file_calls() -> SerialCallsByName:
    """A file on a drive that is gone blocks no other."""
    return SerialCallsByName(READ_S, _AT_ONCE, _MOST)


def unanswered(path: Path, error: NoAnswerError) -> ModelFile:
    """A model whose file did not answer."""
    name = str(path).encode("utf-8", "backslashreplace").decode()
    return ModelFile(name, 0, problem=Problem(Reason.FILE_UNANSWERED, f"{error}; is its drive there?"))
