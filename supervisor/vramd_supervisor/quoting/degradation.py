"""Lowers settings step by step when a model does not fit. Pure.

Steps come in order of harm: speed only, then cache precision, then context, then layers on the GPU. Like placements,
these are generators that yield settings and are sent their quote.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias, TypeGuard

from vramd_common.load_settings import DEFAULT_PARALLEL, LoadOptions, Settings

from ..domain.catalog import Problem, outputs
from ..domain.device_view import HOST
from ..domain.errors import in_words
from ..domain.quote import Answer, Lowered, Plan, Quote

LEAST_CONTEXT_TOKENS = 2048
"""Least context to which one that was not asked for is lowered."""
_LEAST_TOKENS = 256
_CONTEXT_STEP = 256
_UBATCHES = (256, 128)
_MOST_ALTERNATIVES = 3


Asking: TypeAlias = Generator[Settings, Answer, "Plan | None"]
Change = Callable[[int], Settings]
"""Puts a number into settings."""


class _Step(NamedTuple):
    lowered: Lowered
    words: str


_Steps: TypeAlias = tuple[_Step, ...]


def fits(answer: Answer, available: Mapping[str, int]) -> TypeGuard[Quote]:
    """Returns whether the engine accepts the settings and every device has the bytes they need."""
    if isinstance(answer, Problem):
        return False
    return all(need <= available.get(device, 0) for device, need in answer.needs.items())


def shrink(settings: Settings, asked: LoadOptions, available: Mapping[str, int], layers: int) -> Asking:
    """Finds the first settings that fit, lowering as little as possible and nothing that was asked for; else None.

    First it takes the fewer of the two default numbers of sequences, which counts as nothing lowered.
    1. Smaller computations, 256 then 128 tokens.
    2. The KV cache as q8_0.
    3. The largest context that fits, not below the one asked for unless it may be lowered.
    4. The KV cache as q4_0, if degrading was explicitly allowed.
    5. As many layers on the GPU as fit.

    The host is the slowest device already, so only the context is lowered there, unless degrading was explicitly
    allowed. A cache type that the engine refuses is skipped.
    """
    if asked.parallel is None and settings.parallel > DEFAULT_PARALLEL:
        settings = _fewer_sequences(settings, asked)
        if fits(quote := (yield settings), available):
            return _plan(settings, quote, ())
    return (yield from _lower(settings, asked, available, layers))


def _lower(settings: Settings, asked: LoadOptions, available: Mapping[str, int], layers: int) -> Asking:
    everything = asked.degrade if asked.degrade is not None else settings.device != HOST
    said: _Steps = ()
    if everything and asked.ubatch_tokens is None and _is_divisible(settings):  # 1
        for tokens in (tokens for tokens in _UBATCHES if tokens < settings.ubatch_tokens):
            settings, said = _ubatch(settings, tokens), (_Step(Lowered.UBATCH, f"computations of {tokens} tokens"),)
            if fits(quote := (yield settings), available):
                return _plan(settings, quote, said)
    may_quantize = everything and asked.kv_type is None and settings.flash_attention != "off"
    if may_quantize:  # 2
        quantized = replace(settings, kv_type="q8_0")
        quote = yield quantized
        may_quantize = not isinstance(quote, Problem)
        if may_quantize:
            settings, said = quantized, (*said, _Step(Lowered.KV_TYPE, "KV cache as q8_0"))
        if fits(quote, available):
            return _plan(settings, quote, said)
    usual = LEAST_CONTEXT_TOKENS if asked.context_tokens is None else settings.context_tokens
    least = min(asked.least_context_tokens or usual, settings.context_tokens)
    if least < settings.context_tokens and asked.degrade is not False:  # 3
        if plan := (yield from _largest_context(settings, least, available, said)):
            return plan
        words = f"context of {least} tokens instead of {settings.context_tokens}"
        said = (*said, _Step(Lowered.CONTEXT, words))
        settings = _context(settings, least)
    if may_quantize and asked.degrade:  # 4
        settings = replace(settings, kv_type="q4_0")
        said = tuple(one._replace(words="KV cache as q4_0") if one.lowered is Lowered.KV_TYPE else one for one in said)
        if fits(quote := (yield settings), available):
            return _plan(settings, quote, said)
    if everything and asked.gpu_layers is None and not asked.gpu_only and settings.device != HOST:  # 5
        return (yield from _most_layers(settings, layers, available, said))
    return None


def nearest(
    asked: Sequence[Settings], available: Mapping[str, int], layers: int, *, gpu_only: bool
) -> Generator[Settings, Answer, tuple[Plan, ...]]:
    """Finds settings that would fit where those asked for do not: at most three, the smallest change first.

    It changes the first of the settings asked for: one change alone, then several together.
    """
    found: list[Plan] = []
    if not asked:
        return ()
    start = asked[0]
    small = _ubatch(start, min(_UBATCHES[-1], start.ubatch_tokens)) if _is_divisible(start) else start
    smaller: _Steps = (_Step(Lowered.UBATCH, f"ubatch {small.ubatch_tokens}"),) if small != start else ()
    singles = [(small, smaller)] if small != start else []
    kind, kind_said = start.kv_type, tuple[_Step, ...]()
    if start.flash_attention != "off" and not isinstance((yield replace(start, kv_type="q8_0")), Problem):
        kind, kind_said = "q8_0", (_Step(Lowered.KV_TYPE, "kv-type q8_0"),)
        singles.append((replace(start, kv_type=kind), kind_said))
        singles.append((replace(small, kv_type=kind), (*smaller, *kind_said)))
    for settings, said in singles:
        if len(found) < _MOST_ALTERNATIVES - 1 and fits(quote := (yield settings), available):
            found.append(_plan(settings, quote, said))
    for settings, said in [(start, ()), *reversed(singles)]:
        if len(found) < _MOST_ALTERNATIVES and (
            plan := (yield from _largest_context(settings, _LEAST_TOKENS, available, said))
        ):
            found.append(plan)
            break
    if not found and start.device != HOST and not gpu_only:
        least = _context(replace(small, kv_type=kind), min(LEAST_CONTEXT_TOKENS, start.context_tokens))
        said = (*smaller, *kind_said, _Step(Lowered.CONTEXT, f"context {least.context_tokens}"))
        if plan := (yield from _most_layers(least, layers, available, said)):
            found.append(plan)
    return tuple(found)


def _plan(settings: Settings, quote: Quote, said: _Steps) -> Plan:
    return Plan(settings, quote, tuple(one.words for one in said), tuple(one.lowered for one in said))


def _is_divisible(settings: Settings) -> bool:
    """Returns whether computations can be smaller: not where an input is computed whole, or the context is short."""
    return settings.ubatch_tokens < settings.context_tokens


def _fewer_sequences(settings: Settings, asked: LoadOptions) -> Settings:
    before, after = (
        outputs(asked.outputs, parallel, settings.ubatch_tokens) for parallel in (settings.parallel, DEFAULT_PARALLEL)
    )
    # An encoder has one for each token, whatever is asked for.
    return replace(
        settings, parallel=DEFAULT_PARALLEL, outputs=after if settings.outputs == before else settings.outputs
    )


def _ubatch(settings: Settings, tokens: int) -> Settings:
    return replace(settings, ubatch_tokens=tokens, outputs=min(settings.outputs, tokens))


def _context(settings: Settings, tokens: int) -> Settings:
    batch = min(settings.batch_tokens, tokens)
    ubatch = min(settings.ubatch_tokens, batch)
    return replace(_ubatch(settings, ubatch), context_tokens=tokens, batch_tokens=batch)


def _largest_context(settings: Settings, least: int, available: Mapping[str, int], said: _Steps) -> Asking:
    """Finds the largest context below the present one that fits, in steps of 256 tokens from `least`."""
    steps = -(-(settings.context_tokens - least) // _CONTEXT_STEP)
    plan = yield from _largest(lambda step: _context(settings, least + step * _CONTEXT_STEP), 0, steps - 1, available)
    if plan is None:
        return None
    words = f"context of {plan.settings.context_tokens} tokens instead of {settings.context_tokens}"
    return _plan(plan.settings, plan.quote, (*said, _Step(Lowered.CONTEXT, words)))


def _most_layers(settings: Settings, layers: int, available: Mapping[str, int], said: _Steps) -> Asking:
    """Puts as many layers on the GPU as fit, at least one; the rest and its scratch must fit on the host."""
    gpus = {device: room for device, room in available.items() if device != HOST}
    gpus[HOST] = 1 << 62
    plan = yield from _largest(lambda count: replace(settings, gpu_layers=count), 1, layers, gpus)
    if plan is None or not fits(plan.quote, available):
        return None
    host = in_words(plan.quote.devices[HOST].engine_bytes)
    words = f"{plan.settings.gpu_layers} of {layers + 1} layers on the GPU, {host} on the host"
    return _plan(plan.settings, plan.quote, (*said, _Step(Lowered.GPU_LAYERS, words)))


def _largest(change: Change, low: int, high: int, available: Mapping[str, int]) -> Asking:
    """Finds the largest number from `low` to `high` that fits, by bisection: a larger one never needs less."""
    best = None
    while low <= high:
        middle = (low + high + 1) // 2 if best else low
        settings = change(middle)
        if fits(quote := (yield settings), available):
            best, low = Plan(settings, quote), middle + 1
        elif best:
            high = middle - 1
        else:
            return None
    return best
