"""The settings as typed keyword arguments of the SDK: clients/python/vramd/option_types.py, made of the tables."""

from pathlib import Path

from vramd_common.load_settings import LOAD_SETTINGS
from vramd_common.sampling import CONTROL_TOKENS, DELIVERY, LIMITS, SAMPLING
from vramd_common.settings_table import Setting

FILE = Path(__file__).parents[1] / "clients" / "python" / "vramd" / "option_types.py"

_LOAD = '''"""Settings of a load and options of an answer, as keyword arguments. Made by proto/generate.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class LoadSettings(TypedDict, total=False):
    """Settings of a load. What is not given, or None, comes from the configuration, then from the defaults.

    A call for a model that is resident with other settings is refused, unless a setting is applied and never compared.

    >>> client.load("talker", context=4096, kv_type="q8_0", keep_alive_s=600).context_tokens
    4096
    """

'''
_ANSWER = '''

class AnswerOptions(TypedDict, total=False):
    """How an answer is made and comes: sampling, limits, control tokens and delivery."""

'''


def text() -> str:
    """The whole file."""
    answer = (*SAMPLING, *LIMITS, *CONTROL_TOKENS, *DELIVERY)
    return _LOAD + "".join(map(_field, LOAD_SETTINGS)) + _ANSWER + "".join(map(_field, answer))


def _field(row: Setting) -> str:
    kind = "str | Sequence[str]" if row.kind is tuple else row.kind.__name__
    if row.words and row.least is not None:
        kind = "int | str"
    said = row.described
    if row.kind is str and row.words and row.least is None:
        said = f"{row.help} One of {', '.join(row.words)}. Default: {row.default}."
    if row.applied:
        said += " Applied, never compared."
    lines = [f"    {row.name}: {kind} | None", f'    """{said}"""']
    if len(lines[1]) > 120:
        lines[1:] = _wrapped(said)
    return "\n".join(lines) + "\n"


def _wrapped(said: str) -> list[str]:
    """A docstring of several lines."""
    sentences = said.partition(". Default: ")
    return [f'    """{sentences[0]}.', "", f"    Default: {sentences[2]}", '    """']
