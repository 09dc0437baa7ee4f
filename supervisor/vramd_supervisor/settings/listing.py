"""Lists the models and gives them their ids. Pure: `discovery` has read the files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import PurePath
from typing import NamedTuple

from vramd_common.reasons import Reason

from ..core.names import ids_for, spelled
from ..domain.catalog import Model, ModelFile, Problem, Simulation
from ..domain.config import Config, ModelConfig, Priority

_NO_FILE = ModelFile("", 0)


@dataclass(frozen=True)
class Found:
    """A model found in a folder."""

    base: str
    """Name of the model in its folder."""
    file: ModelFile


class Looked(NamedTuple):
    """The result of a search of the folders."""

    found: Sequence[Found]
    """Models, in the order in which new files get their ids."""
    configured: Mapping[str, ModelFile]
    """Files of configured models with a path, by model id."""


@dataclass(frozen=True)
class Held:
    """A model as known before this search."""

    model: Model
    kept: bool = False
    """Whether it is in use or was changed by a caller: then its id stays taken, even if its file is gone."""


def catalogue(
    config: Config,
    found: Sequence[Found],
    configured: Mapping[str, ModelFile],
    before: Mapping[str, Held] | None = None,
) -> dict[str, Model]:
    """Returns every model by id: the configured ones, and found ones that are not a configured one under another name.

    `found` and `configured` are as in `Looked`.
    """
    before = before or {}
    renamed = {file.path for file in configured.values()}
    named = called(config, found, {id_: _file(held) for id_, held in before.items()})
    others = [one for one in found if one.file.path not in renamed and one.file.path not in named.values()]
    files = {one.file.path: one.file for one in found}
    models = {
        id_: _configured(id_, settings, configured.get(id_) or files.get(named.get(id_, "")))
        for id_, settings in config.models.items()
    }
    aliases = (alias for settings in config.models.values() for alias in settings.aliases)
    for path, id_ in name_files(others, {*config.models, *aliases}, before).items():
        models[id_] = Model(id_, files[path])
    return {id_: _as_known(model, before.get(id_)) for id_, model in sorted(models.items())}


def by_name(config: Config) -> set[str]:
    """Returns the configured models whose file is found by the model's id."""
    return {id_ for id_, settings in config.models.items() if settings.engine != "simulated" and not settings.path}


def called(config: Config, found: Sequence[Found], known: Mapping[str, ModelFile]) -> dict[str, str]:
    """Returns the file of each configured model without a path: its previous file, else the first of that name.

    The file may have moved to another folder. `known` has the previous files by id; files of other ids keep theirs.
    """
    ids = by_name(config)
    theirs = {file.path for id_, file in known.items() if id_ not in config.models}
    files: dict[str, list[ModelFile]] = {}
    for one in found if ids else ():
        for id_ in ids_for(one.file.path, one.base) if one.file.path not in theirs else ():
            if id_ in ids:
                files.setdefault(id_, []).append(one.file)
    return {id_: _same(these, known.get(id_, _NO_FILE)).path for id_, these in files.items()}


def _same(files: Sequence[ModelFile], was: ModelFile) -> ModelFile:
    here = next((file for file in files if file.path == was.path), None)
    return here or next((file for file in files if _trace(file) == _trace(was)), files[0])


def name_files(
    found: Sequence[Found], reserved: Collection[str] = (), before: Mapping[str, Held] | None = None
) -> dict[str, str]:
    """Returns the id of each file, by path.

    1. A file keeps its id while it exists, even when it moves to another folder.
    2. Any other file gets the shortest of its possible ids that is free: not `reserved`, not another file's, and not
       that of a missing file that may come back.
    """
    before = before or {}
    there = {one.file.path for one in found}
    files = {id_: file for id_, held in before.items() if (file := _file(held)).path and id_ not in reserved}
    was = {file.path: id_ for id_, file in files.items()}
    moved = {_trace(file): id_ for id_, file in files.items() if file.path not in there}
    ids: dict[str, str] = {}
    for one in found:  # 1
        if id_ := was.get(one.file.path) or moved.pop(_trace(one.file), ""):
            ids[one.file.path] = id_
    holders = dict.fromkeys([*reserved, *(id_ for id_, held in before.items() if held.kept)], "")
    holders |= {id_: path for path, id_ in ids.items()}
    for one in found:  # 2
        if one.file.path not in ids:
            id_ = _free(one, holders)
            ids[one.file.path], holders[id_] = id_, one.file.path
    return ids


def _free(one: Found, holders: Mapping[str, str]) -> str:
    """Returns the shortest free id of a file. Files in one folder are told apart by file name."""
    path, base = PurePath(one.file.path), one.base
    rival = holders.get(spelled(base))
    if rival and PurePath(rival).parent == path.parent:
        base = path.stem if path.stem != base else path.name
    possible = list(ids_for(one.file.path, base))
    counted = (f"{possible[-1]}~{number}" for number in count(2))
    return next(id_ for id_ in chain(possible, counted) if id_ not in holders)


def _file(held: Held) -> ModelFile:
    return held.model.source if isinstance(held.model.source, ModelFile) else _NO_FILE


def _trace(file: ModelFile) -> tuple[str, int, int]:
    """Returns what identifies a file after a move: its name, size and modification time."""
    return PurePath(file.path).name, file.size_bytes, file.modified_ns


def _as_known(model: Model, held: Held | None) -> Model:
    """Keeps the previous details of a file that cannot be read now, with its problem."""
    file, was = model.source, held.model.source if held else None
    if not isinstance(file, ModelFile) or not isinstance(was, ModelFile) or file.problem is None:
        return model
    if file.path not in ("", was.path):
        return model
    size_bytes, modified_ns = file.size_bytes or was.size_bytes, file.modified_ns or was.modified_ns
    return replace(model, source=replace(was, problem=file.problem, size_bytes=size_bytes, modified_ns=modified_ns))


def _configured(id_: str, settings: ModelConfig, file: ModelFile | None) -> Model:
    source: ModelFile | Simulation
    if settings.engine == "simulated":
        source = Simulation(
            settings.memory, settings.load_s, settings.tokens_per_s, settings.manners, settings.allocate
        )
    elif file:
        source = file
    else:
        text = "it is configured without a path, and no file of this name is in the folders"
        source = ModelFile("", 0, problem=Problem(Reason.MODEL_FILE_MISSING, text))
    priority = Priority[(settings.priority or "interactive").upper()]
    return Model(id_, source, settings.load, priority, settings.group or "", **settings.rules)
