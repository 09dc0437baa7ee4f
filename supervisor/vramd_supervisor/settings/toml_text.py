"""Reads TOML files as people write them, and describes errors for users."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class TomlError(Exception):
    """Raised for a file that is not valid TOML; its text is for the user, without the file's name."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        """Line, from 1; None if the error concerns the whole file."""


def read(file: Path) -> str:
    """Reads a file without the byte order mark that Windows editors add. Raises TomlError."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise TomlError(None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TomlError(None, "is no UTF-8 text; save it as UTF-8") from error


def parse(text: str) -> dict[str, object]:
    """Parses text into tables. Raises TomlError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = re.search(r"\(at line (\d+)", said)
        lines = text.splitlines() or [""]
        line = int(place[1]) if place else len(lines)
        hint = ""
        if re.search(r'"[^"]*\\', lines[min(line, len(lines)) - 1]):
            hint = r"; a path with \ in it stands in single quotes: 'C:\Users'"
        raise TomlError(line, f"is no valid TOML: {said}{hint}") from error
