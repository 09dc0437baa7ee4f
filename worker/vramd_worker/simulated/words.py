"""Tokens of simulated models: the 256 bytes, then some words. Pure."""

import hashlib
import math
import zlib
from collections.abc import Sequence

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError

WORDS = (
    *("amber", "birch", "cedar", "dawn", "ember", "fern", "garnet", "hazel", "iris", "juniper", "kelp", "linden"),
    *("moss", "nutmeg", "olive", "pebble", "quartz", "reed", "sage", "thyme", "umber", "violet", "willow", "yarrow"),
    *("ash", "cliff", "zinnia", "éclair", "naïve", "über", "雪", "🌊"),
)
BYTES = 256
DIMENSIONS = 8


def word_token(seed: int, position: int) -> int:
    """Returns the token at a position: the same for the same seed."""
    return BYTES + zlib.crc32(f"{seed}:{position}".encode()) % len(WORDS)


def seed_of(prompt: str) -> int:
    """Returns the seed of a job without one: the same prompt gets the same answer."""
    return zlib.crc32(prompt.encode())


def tokenize(text: str) -> bytes:
    """Returns the bytes of the text in UTF-8, each of them a token."""
    return text.encode()


def detokenize(token_ids: Sequence[int]) -> bytes:
    """Returns the bytes of tokens. Raises EngineError for an invalid id."""
    if bad := [one for one in token_ids if not 0 <= one < BYTES + len(WORDS)]:
        raise EngineError(Reason.FIELD_INVALID, f"{bad[0]} is no token of this model", field="token_ids")
    return b"".join(bytes([one]) if one < BYTES else f"{WORDS[one - BYTES]} ".encode() for one in token_ids)


def count(text: str) -> int:
    """Counts the tokens of a prompt: its words; an empty one has the token that begins a text."""
    return max(1, len(text.split()))


def vector(text: str) -> tuple[float, ...]:
    """Returns a vector of length 1, the same for the same text."""
    digest = hashlib.blake2b(text.encode(), digest_size=2 * DIMENSIONS).digest()
    raw = [int.from_bytes(digest[2 * i : 2 * i + 2], "big") - 32767.5 for i in range(DIMENSIONS)]
    length = math.hypot(*raw)
    return tuple(one / length for one in raw)
