"""Names of control tokens as one expression, of which there may be thousands. Pure."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby, takewhile


def one_of(names: Iterable[str]) -> "re.Pattern[str] | None":
    """Finds the longest of these names that stands at a place; None if there are none."""
    ordered = sorted(set(filter(None, names)))
    if not ordered:
        return None
    try:
        return re.compile(_branches(ordered))
    except RecursionError:  # hundreds of them begin with each other
        return re.compile("|".join(map(re.escape, sorted(ordered, key=len, reverse=True))))


def _branches(names: Sequence[str]) -> str:
    """Sorted names as an expression in which they share their beginnings: a search tries few of thousands."""
    # What the first and the last share, all that are sorted between them share.
    pairs = zip(names[0], names[-1], strict=False)
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rests = [name[len(common) :] for name in names if name != common]
    if not rests:
        return re.escape(common)
    inner = "|".join(_branches([*group]) for _, group in groupby(rests, key=lambda rest: rest[0]))
    return f"{re.escape(common)}(?:{inner}){'?' if common in names else ''}"
