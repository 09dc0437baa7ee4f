"""The table of exceptions in README.md."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from csharp_errors import KEYS, classes, in_csharp, keys, name, property_name
from vramd.failures import BY_REASON

FILE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- exceptions -->\n", "<!-- /exceptions -->"


def readme() -> str:
    """Returns the page with a fresh table."""
    text = FILE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{''.join(_rows())}{END}{after}"


def _rows() -> Iterator[str]:
    yield "| exception | when | properties | reasons |\n"
    yield "| --- | --- | --- | --- |\n"
    for kind in classes():
        properties = [f"`{property_name(key)}`" for key in keys(kind)]
        reasons = [f"`{reason.name}`" for reason, one in BY_REASON.items() if one is kind]
        first = in_csharp(inspect.getdoc(kind) or "").split("\n\n")[0]
        when = re.sub(r"`(\w+)`", lambda word: f"`{_in_csharp(word[1])}`", " ".join(first.split()))
        yield f"| `{name(kind)}` | {when} | {', '.join(properties)} | {', '.join(reasons)} |\n"


def _in_csharp(word: str) -> str:
    return property_name(word) if word in KEYS else word
