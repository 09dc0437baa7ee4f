"""Defaults that follow from a machine's size: CPU threads, strategy, and use of a card. Pure."""

from enum import Enum

_MOST_THREADS = 12
"""Most default threads: decoding is bound by memory, so more rarely make it faster on a desktop."""
_LEFT_CORES = 2
"""Cores left for the application and the system."""

_GB = 10**9
_GIB = 1 << 30

_CARD_SIZES_GB = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 180, 192, 288)
"""Nominal sizes that cards are sold with."""
_SHOWN_SHARE = 0.92
"""Least share of its nominal size that a card shows. The driver keeps 0.05 to 2 % (an "8 GB" card shows 8188
MiB, a "6 GB" one 6141 or 5926, a "4 GB" one 3911), error correction a sixteenth on top (a "16 GB" T4 shows 15109)."""


def default_threads(physical_cores: int | None, usable_cores: int) -> int:
    """Returns the default CPU threads of a model: min(physical cores - 2, 12), within the usable cores.

    `usable_cores` are those that affinity and quota leave; they replace an unknown number of physical cores (None). The
    result is at least 1, which a machine with two cores gets.
    """
    wanted = (physical_cores or usable_cores) - _LEFT_CORES
    return max(1, min(wanted, _MOST_THREADS, usable_cores))


class Strategy(Enum):
    """The load that a machine can bear, by its RAM."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"

    @classmethod
    def of_ram(cls, total_bytes: int) -> "Strategy":
        """Returns light below 8 GB, medium below 16 GB, else heavy.

        A GB is 10^9 bytes: firmware keeps a few per cent of modules of 8 or 16 GiB.
        """
        if total_bytes < 8 * _GB:
            return cls.LIGHT
        return cls.MEDIUM if total_bytes < 16 * _GB else cls.HEAVY


class Profile(Enum):
    """Default use of a card."""

    LOW_MEMORY = ("low_memory", 20, 256)
    BALANCED = ("balanced", 32, 512)
    PERFORMANCE = ("performance", -1, 512)

    def __init__(self, label: str, gpu_layers: int, batch_tokens: int) -> None:
        self.label = label
        self.gpu_layers = gpu_layers
        """Layers on the card; -1: all."""
        self.batch_tokens = batch_tokens

    @classmethod
    def of_card(cls, total_bytes: int) -> "Profile":
        """Chooses by the card's nominal size: below 4 GB, below 6 GB, or larger."""
        size_gb = nominal_gb(total_bytes)
        if size_gb < 4:
            return cls.LOW_MEMORY
        return cls.BALANCED if size_gb < 6 else cls.PERFORMANCE


def nominal_gb(total_bytes: int) -> int:
    """Returns the nominal size of a card from the bytes that its driver shows; 0 below every size.

    That is the largest size of which the card shows enough: 5.8 GiB is a 6 GB card, 5.2 GiB a 5 GB one.
    """
    return max((size for size in _CARD_SIZES_GB if total_bytes >= _SHOWN_SHARE * size * _GIB), default=0)
