"""How models are called: the ids of files, and the model that a caller means. Pure."""

import unicodedata
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import PurePath

from vramd_common.printable import printable
from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile
from ..domain.errors import Refusal, refusal
from ..selection.specialties import TASK_PREFIX
from .state import ModelRuntime, is_known

MOST_ID_CHARACTERS = 500
"""Most characters of an id; a little less than a request may have (validation.MOST_ID_CHARACTERS)."""
_SUFFIX = ".gguf"
_MOST_NEAR = 5
_MOST_SAID = 200
"""Most characters of an unknown name in its error message."""


def spelled(name: str) -> str:
    """A name as an id has it: composed, without a character that cannot be shown, never taken for a task."""
    shown = printable(unicodedata.normalize("NFC", name))
    return shown.replace(":", "_", 1) if shown.startswith(TASK_PREFIX) else shown


def ids_for(path: str, base: str) -> Iterator[str]:
    """Returns names for a file, shortest first: its name, with its folder before it, and that one's folder, …"""
    parts = PurePath(path).parent.parts[1:]
    for depth in range(len(parts) + 1):
        id_ = spelled("/".join((*parts[len(parts) - depth :], base)))
        yield id_[-MOST_ID_CHARACTERS:]


def find(models: Mapping[str, ModelRuntime], name: str) -> ModelRuntime | Refusal:
    """The model that a caller means: the one of this id or alias, else the only one that the name fits.

    1. The same letters, composed otherwise, in capitals or not, with or without the file's ending.
    2. The path of its file, or the end of that.
    3. The end of its id, behind a folder's name.
    """
    if (model := models.get(name)) and is_known(model):
        return model
    known = {id_: model for id_, model in models.items() if is_known(model)}
    wanted = _folded(name[:MOST_ID_CHARACTERS])
    end = "/" + wanted.replace("\\", "/").removeprefix("./").strip("/")
    for model in known.values():
        if name in model.spec.aliases:
            return model
    alike = [id_ for id_, model in known.items() if wanted in map(_folded, (id_, *model.spec.aliases))]  # 1
    if not alike and end != "/":
        alike = [id_ for id_, model in known.items() if f"/{_path(model)}".endswith(end)]  # 2
        alike = alike or [id_ for id_ in known if _folded(id_).endswith(end)]  # 3
    if len(alike) == 1:
        return known[alike[0]]
    near = alike or _near(known, wanted)
    hint = f"did you mean {', '.join(sorted(near)[:_MOST_NEAR])}?" if near else "`vramd models` lists what there is"
    said = name[:_MOST_SAID]
    if not near:
        hint += ", `vramd rescan` looks for new files"
    return refusal(Reason.MODEL_NOT_FOUND, f"no model is called {said!r}; {hint}", model=said)


def _near(known: Mapping[str, ModelRuntime], wanted: str) -> list[str]:
    """Ids that begin like it, else such as are spelled almost like it, as a whole or behind their folders' names."""
    last = wanted.rpartition("/")[2]
    ends: dict[str, list[str]] = {}
    for id_, model in known.items():
        for alias in model.spec.aliases:
            ends.setdefault(_folded(alias), []).append(id_)
        ends.setdefault(_folded(id_), []).append(id_)
        ends.setdefault(_folded(id_).rpartition("/")[2], []).append(id_)
    begun = [end for end in ends if last and end.startswith(last)]
    found = begun or get_close_matches(wanted, ends, n=_MOST_NEAR) or get_close_matches(last, ends, n=_MOST_NEAR)
    return list(dict.fromkeys(id_ for end in found for id_ in ends[end]))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().removesuffix(_SUFFIX)


def _path(model: ModelRuntime) -> str:
    source = model.spec.source
    return _folded(source.path).replace("\\", "/") if isinstance(source, ModelFile) else ""
