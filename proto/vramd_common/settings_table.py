"""A row of the tables of settings: a field of a dataclass, with its name, range, default and help. Pure.

`load_settings` and `sampling` have the tables. The configuration file, the gRPC edge, the SDK, the command line and
docs/configuration.md take names, ranges and words from them.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from .printable import printable

TRUTH, TEXT, WHOLE, NUMBER = "true or false", "text in quotes", "a whole number", "a number"
_EXPECTED = {bool: TRUTH, str: TEXT, int: WHOLE, float: NUMBER}


class WrongKindError(Exception):
    """A value is of another kind than its setting takes."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of a table."""

    field: str
    """Name of the field in the dataclass and in the message of the wire."""
    name: str
    """Name in the configuration file, in the SDK and on the command line."""
    kind: type
    """int, float, bool, str, or tuple for several texts."""
    help: str
    default: str
    """The default in words; empty: there is none to show."""
    least: float | None = None
    most: float | None = None
    words: Mapping[str, int] | tuple[str, ...] = ()
    """Words accepted beside numbers, or the only accepted texts; a mapping gives the number that each word means."""
    characters: int = 0
    """Most characters of a text, all of them printable; 0: no bound."""
    also: Mapping[float, str] = dataclasses.field(default_factory=dict)
    """Numbers accepted outside the range, each with its meaning."""
    applied: bool = False
    """A load applies it; it is not compared with the settings of a resident model."""
    simulated: bool = False
    """A simulated model takes it too."""

    @property
    def described(self) -> str:
        """Help and default, as sentences."""
        return f"{self.help} Default: {self.default}." if self.default else self.help

    @property
    def expected(self) -> str:
        """Kind of value that it takes, in words."""
        if self.kind is str and self.words and self.least is None:
            return f"one of {', '.join(self.words)}"
        if self.words:
            return f"{self._quoted_words} or a number of {_plain(self.least or 0)} or more"
        return _EXPECTED[self.kind]

    @property
    def range(self) -> str:
        """Accepted values, in words; empty: any value of its kind."""
        if self.characters:
            return f"at most {self.characters} printable characters"
        if self.least is None:
            return ""
        numbers = f"{_plain(self.least)} {'or more' if self.most is None else f'to {_plain(self.most)}'}"
        also = (f"{_plain(number)} {meaning}" for number, meaning in self.also.items())
        return ", or ".join((*(self._quoted_words and [self._quoted_words]), numbers, *also))

    @property
    def _quoted_words(self) -> str:
        return ", ".join(f'"{word}"' for word in self.words)

    def number(self, value: object) -> object:
        """Converts a word that means a number, or digits, to that number; returns anything else unchanged."""
        if isinstance(value, str) and isinstance(self.words, Mapping) and value in self.words:
            return self.words[value]
        digits = value.removeprefix("-") if isinstance(value, str) and self.words else ""
        return int(str(value)) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else value

    def read(self, value: object) -> Any:
        """Converts a value that the user wrote to its internal form. Raises WrongKindError.

        The range is not checked.
        """
        if self.words and self.least is not None:
            value = self.number(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value if self.kind is int else str(value)
        if self.words and value not in (self.words if self.kind is str else ()):
            raise WrongKindError(self.expected)
        if self.kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                return float(value)
        elif isinstance(value, self.kind) and not (self.kind is int and isinstance(value, bool)):
            return value
        raise WrongKindError(self.expected)

    def fault(self, value: object) -> str:
        """The fault of a value that `read` returned, as "must be …, not …"; empty if it is in range."""
        if value is None or not self.range or (isinstance(value, str) and value in self.words):
            return ""
        if self.characters:
            text = str(value)
            is_fine, shown = len(text) <= self.characters and printable(text) == text, repr(text[: self.characters])
        else:
            # A number that was sent as 32 bits differs a little from the one written.
            number = float(f"{value:.7g}") if isinstance(value, float) else int(str(value))
            is_fine, shown = self._allows(number), _plain(number)
        return "" if is_fine else f"must be {self.range}, not {shown}"

    def _allows(self, number: float) -> bool:
        if number in self.also or (isinstance(self.words, Mapping) and number in self.words.values()):
            return True
        assert self.least is not None
        return self.least <= number <= (sys.float_info.max if self.most is None else self.most)


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def setting(help: str, *, value: Any = None, name: str = "", default: str = "", **more: Any) -> Any:
    """Declares a field of a table's dataclass: `value` is its default there, `default` describes it for people."""
    if not default and value not in (None, ()):
        default = str(value).lower() if isinstance(value, bool) else f"{value:g}" if value != "" else ""
    return dataclasses.field(
        default=value, metadata={"setting": {"help": help, "name": name, "default": default, **more}}
    )


def rows(table: type) -> tuple[Setting, ...]:
    """Returns the rows of a table, in its order."""
    hints = get_type_hints(table)
    return tuple(_row(one, hints[one.name]) for one in dataclasses.fields(table))


def _row(one: "dataclasses.Field[Any]", hint: Any) -> Setting:
    facts = dict(one.metadata["setting"])
    kinds = [kind for kind in get_args(hint) or (hint,) if kind not in (type(None), ...)]
    kind = tuple if "tuple" in str(hint) else kinds[0]
    return Setting(one.name, facts.pop("name") or one.name, kind, **facts)
