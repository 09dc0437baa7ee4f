"""Which files make up one model: names of shards, and what their headers say of it. Pure, but for no file read."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vramd_common.reasons import Reason

from .gguf_values import Header, UnreadableModelError
from .walk import SUFFIX, FileKey, Seen

_SHARD = re.compile(r"(?P<base>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_MOST_SHARDS = 1000
_MOST_NAMED = 3


@dataclass(frozen=True)
class Part:
    """The place of a file in its model, by its name."""

    base: str
    """The name of the model."""
    number: int = 1
    count: int = 1


def part_of(path: Path) -> Part:
    """By its name; a file that is called like no shard is a whole model."""
    shard = _SHARD.fullmatch(path.name)
    if shard and 1 < int(shard["count"]) <= _MOST_SHARDS:
        return Part(shard["base"], int(shard["number"]), int(shard["count"]))
    return Part(path.name[: -len(SUFFIX)] if path.name.lower().endswith(SUFFIX) else path.name)


def name_of(part: Part, number: int) -> str:
    """The name that llama.cpp wants a shard to have (llama.cpp `llama_split_path`)."""
    return f"{part.base}-{number:05}-of-{part.count:05}{SUFFIX}" if part.count > 1 else f"{part.base}{SUFFIX}"


@dataclass(frozen=True)
class Group:
    """The files of one model, those that there are, in their order."""

    files: tuple[Seen, ...]

    @property
    def first(self) -> Path:
        """The file by which the model is named."""
        return self.files[0].path

    @property
    def part(self) -> Part:
        """Of the first file."""
        return part_of(self.first)

    @property
    def whole(self) -> bool:
        """No shard is missing."""
        return len(self.files) == self.part.count

    @property
    def keys(self) -> tuple[FileKey | Path, ...]:
        """The real files, however they are called here."""
        return tuple(seen.stamp.key if seen.stamp else seen.path for seen in self.files)


def group(files: Iterable[Seen], known: Collection[str]) -> list[Group]:
    """The models that these files are, each once, however many names its files have.

    Of several names the one that is known stays, before a file's own name, before a link's. What is only another name
    of a shard, or some shards of a model that is whole elsewhere, is no model by itself.
    """
    shared: dict[tuple[Path, str, int], dict[int, Seen]] = {}
    for seen in sorted(files, key=lambda seen: seen.order):
        part = part_of(seen.path)
        place = (seen.path.parent, part.base, part.count) if part.count > 1 else (seen.path, "", 1)
        # Of two spellings of one shard, the one that llama.cpp takes.
        if part.number not in shared.setdefault(place, {}) or seen.path.name == name_of(part, part.number):
            shared[place][part.number] = seen
    groups = [Group(tuple(parts[number] for number in sorted(parts))) for parts in shared.values()]
    groups.sort(key=lambda one: _preference(one, known))
    once: dict[tuple[FileKey | Path, ...], Group] = {}
    for one in groups:
        once.setdefault(one.keys, one)
    wholes = [set(one.keys) for one in once.values() if one.whole and one.part.count > 1]
    models = [one for one in once.values() if not any(set(one.keys) < whole for whole in wholes)]
    return sorted(models, key=lambda one: one.files[0].order)


def _preference(one: Group, known: Collection[str]) -> tuple[bool, int, tuple[int, int, str]]:
    return str(one.first) not in known, sum(seen.link for seen in one.files), one.files[0].order


def check_names(paths: Sequence[Path]) -> None:
    """Whether all shards are there, under the names that llama.cpp takes. Raises UnreadableModelError."""
    part = part_of(paths[0])
    if part.count == 1:
        return
    there = {part_of(path).number for path in paths}
    if missing := [name_of(part, number) for number in range(1, part.count + 1) if number not in there]:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        _invalid(f"of its {part.count} shards these are missing: {', '.join(missing[:_MOST_NAMED])}{more}")
    for path in paths:
        if path.name != (right := name_of(part, part_of(path).number)):
            _invalid(f"llama.cpp takes shards by their exact names only: rename {path.name} to {right}")


def check_headers(paths: Sequence[Path], headers: Sequence[Header]) -> None:
    """Whether the headers say the same of the shards as their names, as llama.cpp does. Raises UnreadableModelError."""
    part = part_of(paths[0])
    for path, header in zip(paths, headers, strict=True):
        number, count = part_of(path).number, _count(header, "split.count")
        said = _count(header, "split.no") + 1 if count > 1 else 1
        if count <= 1 < part.count:
            _invalid(f"{path.name} is called shard {number} of {part.count}, and its header tells of no shards")
        if count > 1 and (said, count) != (number, part.count):
            text = (
                f"by its header {path.name} is shard {said} of {count}; llama.cpp takes it beside the others, called "
            )
            _invalid(f"{text}NAME-{said:05}-of-{count:05}{SUFFIX}")
    wanted, has = _count(headers[0], "split.tensors.count"), sum(len(header.tensors) for header in headers)
    if part.count > 1 and wanted and wanted != has:
        _invalid(f"its shards have {has} tensors, the first one tells of {wanted}")


def _count(header: Header, key: str) -> int:
    said = header.metadata.get(key, 0)
    return int(said) if isinstance(said, int) else 0


def _invalid(text: str) -> NoReturn:
    raise UnreadableModelError(Reason.MODEL_FILE_INVALID, text)
