"""Options of an answer: sampling, limits, control tokens and delivery, one row for each option. Pure."""

from dataclasses import dataclass

from .load_settings import MOST_TOKENS
from .printable import MOST_NAME_CHARACTERS
from .settings_table import rows, setting

MOST_STOPS = 16
MOST_STOP_BYTES = 256
CACHES = ("private", "shared")


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = setting("0 takes the likeliest token always.", value=0.8, least=0)
    top_p: float = setting("Smallest set of tokens of this probability; 1 is off.", value=0.95, least=0, most=1)
    top_k: int = setting(
        "Only this many of the likeliest tokens; 0 is off, and top_p then looks at the 4096 likeliest.",
        value=40,
        least=0,
        most=MOST_TOKENS,
    )
    min_p: float = setting(
        "Tokens at least this share as likely as the likeliest; 0 is off.", value=0.05, least=0, most=1
    )
    # Beyond this range the penalties of a few tokens would overflow a float.
    repeat_penalty: float = setting("Divides the logits of recent tokens; 1 is off.", value=1.0, least=0.01, most=100)
    frequency_penalty: float = setting("Taken from a logit each time its token occurred.", value=0.0, least=-2, most=2)
    presence_penalty: float = setting("Taken from a logit once if its token occurred.", value=0.0, least=-2, most=2)
    penalty_last_tokens: int = setting("Tokens that the penalties look back.", value=64, least=0, most=MOST_TOKENS)
    seed: int | None = setting(
        "Makes an answer repeatable while the model's memory holds nothing else, with as many CPU threads.",
        default="drawn at random",
        least=0,
        most=(1 << 32) - 1,
    )


@dataclass(frozen=True)
class Limits:
    """When an answer ends, and how fast it may come."""

    max_tokens: int | None = setting(
        "Tokens generated at most.", default="what is left of the context", least=1, most=MOST_TOKENS
    )
    stop: tuple[str, ...] = setting("The answer ends before the first of these.", value=())
    max_tokens_per_s: float | None = setting("Tokens per second at most.", default="as fast as it goes", least=0.001)


@dataclass(frozen=True)
class ControlTokens:
    """How the names of control tokens are treated; fields of the request itself."""

    parse_special: bool | None = setting(
        "Names of control tokens are read as those tokens, else they are text.",
        default="true in a prompt, false in messages",
    )
    show_special: bool = setting(
        "Control tokens that the model generates come in the text by name.",
        value=False,
        default="those of thinking and tools only",
    )


@dataclass(frozen=True)
class Delivery:
    """What an answer shares with others, and how it comes; fields of the request itself."""

    session: str | None = setting(
        "Name of the conversation, which is continued in the cache before others that begin alike.",
        characters=MOST_NAME_CHARACTERS,
    )
    cache: str | None = setting(
        "Who may use what the prompt leaves in the cache: callers with the same token, or all.",
        default="private",
        words=CACHES,
    )
    every_token: bool = setting(
        "Each token comes by itself.", value=False, default="the first at once, then those of about 30 ms together"
    )


SAMPLING, LIMITS, CONTROL_TOKENS, DELIVERY = rows(Sampling), rows(Limits), rows(ControlTokens), rows(Delivery)
