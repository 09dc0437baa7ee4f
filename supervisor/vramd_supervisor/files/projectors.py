"""Which model a projector (mmproj) belongs to: the one whose name it shares. Pure."""

import re
from collections.abc import Mapping

_PRECISION = re.compile(
    r"(?<![a-z0-9])(?:(?:b?f|fp)(?:16|32)|i?q\d+(?:_[a-z0-9]+)*|tq\d_\d|mxfp\d(?:_moe)?|ud|imat)(?![a-z0-9])"
)
_WORD = re.compile(r"[^\W_]+(?:\.\d+)*")
_SAYS_NOTHING = frozenset(("mmproj", "model", "ggml", "gguf", "projector", "vision", "tower", "clip", "encoder"))


def is_called_projector(name: str) -> bool:
    """By its name alone."""
    return "mmproj" in _WORD.findall(name.lower())


def attach(models: Mapping[str, str], projectors: Mapping[str, str]) -> dict[str, str]:
    """The projector of each model that has one; both by path, with their names, and of one folder.

    1. A model's projector is the one with the longest name that the model's begins with.
    2. A nameless one belongs to the only model of the folder, in whatever precisions.
    Of several precisions of a projector the first by name is taken.
    """
    named: dict[tuple[str, ...], str] = {}
    for path, name in sorted(projectors.items(), key=lambda one: one[1]):
        named.setdefault(_words(name), path)
    words = {path: _words(name) for path, name in models.items()}
    alone = len(set(words.values())) == 1
    found = {}
    for path, own in words.items():
        shared = [other for other in named if (other or alone) and own[: len(other)] == other]
        if shared:
            found[path] = named[max(shared, key=len)]
    return found


def _words(name: str) -> tuple[str, ...]:
    """Returns the words of a name, without those for its kind and precision."""
    words = _WORD.findall(_PRECISION.sub(" ", name.lower()))
    return tuple(word for word in words if word not in _SAYS_NOTHING)
