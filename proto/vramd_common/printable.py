"""Makes text from outside safe to show: it cannot move a cursor, begin a line, reverse letters, or hide characters.

Names, messages and log lines are one line. An answer keeps its line breaks and the characters that its script needs.
"""

import re

MOST_ID_CHARACTERS = 512
"""Most characters of a model's id and of its aliases."""
MOST_NAME_CHARACTERS = 64
"""Most characters of the name of a device, a role, a task or a label."""

_MOVES = (
    "\x00-\x1f\x7f-\x9f"  # control characters: cursor, colours, title, clipboard
    "\u2028\u2029"  # line breaks for some programs
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # turn the order in which letters are shown
    "\ufff9-\ufffb"  # annotations
    "\ud800-\udfff"  # surrogates: bytes of a file's name that are not UTF-8
)
_HIDES = (
    "\xad\u115f\u1160\u180e\u200b\u2060-\u2065\u3164\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""Invisible characters, with which two names could look the same. Some scripts need them, so answers keep them."""
# Joiners are needed by emoji and Indic scripts; between other letters they only hide.
_JOINED = f"[^\x00-\x7f\u200c\u200d{_MOVES}{_HIDES}]"
_JOINER = f"(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})"
_ONE_LINE = re.compile(f"[{_MOVES}{_HIDES}]|{_JOINER}")
_ANSWER = re.compile(f"(?![\t\n])[{_MOVES}]")


def printable(text: str, keep: str = "") -> str:
    """Returns one line that is safe to show: unsafe characters not in `keep` are escaped as in Python (`\\x1b`)."""
    return _ONE_LINE.sub(lambda found: found[0] if found[0] in keep else _escaped(found), text)


def is_name(text: str, most_characters: int) -> bool:
    """Whether a text can be a name: short, printable as it is, and not only spaces."""
    return bool(text.strip()) and len(text) <= most_characters and printable(text) == text


def printable_answer(text: str) -> str:
    """Returns a model's answer, with its tabs and line breaks, safe for a terminal."""
    return _ANSWER.sub(_escaped, text.replace("\r\n", "\n"))


def bounded(text: str, most_bytes: int) -> str:
    """Returns the text printable and cut to `most_bytes`; the time does not depend on its length."""
    return cut(printable(text[: most_bytes + 1]), most_bytes)


def one_line(text: str, most_bytes: int) -> str:
    """Returns a message as one bounded line: its lines are joined."""
    return bounded(" ".join(text[: 4 * most_bytes].split()), most_bytes)


def cut(text: str, most_bytes: int) -> str:
    """Returns the text if it is short enough in UTF-8, else its beginning, in whole characters, and an ellipsis."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    ellipsis = "…"
    return encoded[: most_bytes - len(ellipsis.encode())].decode("utf-8", "ignore") + ellipsis


def _escaped(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape").decode()
