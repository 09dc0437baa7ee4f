"""Values as JSON, and as nothing else: Python writes NaN and Infinity, which no other reader takes. Pure."""

import json
import math
from collections.abc import Mapping


def json_text(value: object, *, indent: int | None = None) -> str:
    """The value in JSON; what is no finite number becomes null."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
