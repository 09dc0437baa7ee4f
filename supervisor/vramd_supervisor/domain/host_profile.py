"""What a machine's size says about defaults: CPU threads, how much to dare, and how a card is used. Pure."""

from enum import Enum

_MOST_THREADS = 12
"""Decoding waits for memory: more threads than this rarely make it faster on a desktop."""
_LEFT_CORES = 2
"""For the application and the system."""

_GB = 10**9
_GIB = 1 << 30

_CARD_SIZES_GB = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 180, 192, 288)
"""As cards are sold."""
_SHOWN_SHARE = 0.92
"""A card shows at least this much of the size it is sold by. The driver keeps 0.05 to 2 % (an "8 GB" card shows 8188
MiB, a "6 GB" one 6141 or 5926, a "4 GB" one 3911), error correction a sixteenth on top (a "16 GB" T4 shows 15109)."""


def default_threads(physical_cores: int | None, usable_cores: int) -> int:
    """CPU threads of a model for which nobody asked otherwise: min(physical cores - 2, 12), within what may be used.

    `usable_cores` are those that affinity and quota leave; they stand in for physical ones that are not known (None).
    At least 1, which is what a machine of two cores gets.
    """
    wanted = (physical_cores or usable_cores) - _LEFT_CORES
    return max(1, min(wanted, _MOST_THREADS, usable_cores))


class Strategy(Enum):
    """How much a machine can be asked for, by its RAM."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"

    @classmethod
    def of_ram(cls, total_bytes: int) -> "Strategy":
        """Light below 8 GB, medium below 16 GB, heavy from there.

        GB of 10^9 bytes: a machine with modules of 8 or 16 GiB shows some per cent less, which its firmware keeps.
        """
        if total_bytes < 8 * _GB:
            return cls.LIGHT
        return cls.MEDIUM if total_bytes < 16 * _GB else cls.HEAVY


class Profile(Enum):
    """How a card is used where nobody asked otherwise."""

    LOW_MEMORY = ("low_memory", 20, 256)
    BALANCED = ("balanced", 32, 512)
    PERFORMANCE = ("performance", -1, 512)

    def __init__(self, label: str, gpu_layers: int, batch_tokens: int) -> None:
        self.label = label
        self.gpu_layers = gpu_layers
        """-1 is all."""
        self.batch_tokens = batch_tokens

    @classmethod
    def of_card(cls, total_bytes: int) -> "Profile":
        """By the size the card is sold by: below 4 GB, below 6 GB, from there."""
        size_gb = nominal_gb(total_bytes)
        if size_gb < 4:
            return cls.LOW_MEMORY
        return cls.BALANCED if size_gb < 6 else cls.PERFORMANCE


def nominal_gb(total_bytes: int) -> int:
    """The size that a card is sold by, of the bytes that its driver shows; 0 below every size.

    The largest size of which enough is there: 5.8 GiB are a card of 6 GB, 5.2 GiB one of 5 GB.
    """
    return max((size for size in _CARD_SIZES_GB if total_bytes >= _SHOWN_SHARE * size * _GIB), default=0)
