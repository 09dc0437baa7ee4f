"""Counts the fields of a request before it is read.

An empty message takes two bytes on the wire and fifty times that in memory, and a look at all of them would block the
loop.
"""

from google.protobuf.descriptor import Descriptor
from vramd_common.reasons import Reason

from ..domain.errors import RefusedError, refusal

MOST_FIELDS = 65_536
"""Limit for a request with its nested messages: a conversation of sixteen thousand turns."""
_LEAST_BYTES = 2
"""Size of the smallest field."""

_VARINT, _SIZED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
"""Kinds of fields on the wire; the others begin and end groups, which are nothing but their fields."""


def check(raw: bytes, kind: Descriptor, most: int = MOST_FIELDS) -> None:
    """Raises RefusedError for a message with more fields. An unreadable one is left to the reader."""
    if len(raw) <= _LEAST_BYTES * most:
        return
    found, name = 0, ""
    inner = [(0, len(raw), kind, "")]
    while inner:
        at, end, kind, within = inner.pop()
        while at < end:
            tag, at = _number(raw, at, end)
            field = kind.fields_by_number.get(tag >> 3)
            name = within or (field.name if field else "")
            found += 1
            if found > most:
                text = f"the request has more than {most} fields, most of them in {name or 'unknown fields'}"
                raise RefusedError(refusal(Reason.FIELD_INVALID, text, field=name or "request"))
            wire = tag & 7
            if wire == _VARINT:
                _, at = _number(raw, at, end)
            elif wire == _SIZED:
                size, at = _number(raw, at, end)
                if field and field.message_type:
                    inner.append((at, min(at + size, end), field.message_type, name))
                at += size
            else:
                at += _FIXED_BYTES.get(wire, 0)


def _number(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of the wire, and where it ends."""
    value = shift = 0
    while at < end:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            break
        shift += 7
    return value, at
