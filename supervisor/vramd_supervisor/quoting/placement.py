"""Finds the ways to load a model: decided settings, each with its quote. Pure.

Only llama.cpp knows the exact need of settings, so a placement asks for it: it is a generator that yields settings and
is sent their quote, or why the engine refuses them. Its driver (`planning`) decides where the answers come from.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from vramd_common.load_settings import (
    ANYTHING,
    AUTO,
    DEFAULT_BATCH_TOKENS,
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_PARALLEL,
    LOAD_SETTINGS,
    MORE_PARALLEL,
    SEQUENCE_TOKENS,
    LoadOptions,
    Settings,
)
from vramd_common.reasons import Reason

from ..domain.catalog import Model, ModelFile, Problem, Shape, Simulation, outputs
from ..domain.device_view import HOST, DeviceKind, DeviceView
from ..domain.errors import Refusal, refusal
from ..domain.host_profile import Profile
from ..domain.quote import Answer, Confidence, DeviceBytes, Plan, Quote, Source
from .closed_form import batch_tokens, context_tokens, embeds, known, ubatch_tokens
from .degradation import fits, nearest, shrink

UNKNOWN_CONTEXT_TOKENS = 4096
"""Context of a model whose header does not state its trained context."""
_NO_FILE = ModelFile(path="", size_bytes=0)
"""Empty file from which a simulated model's settings are decided."""


@dataclass(frozen=True)
class LoadPlans:
    """The plans by which a model can be loaded."""

    plans: tuple[Plan, ...]
    """Best first, whether or not there is room for them now."""
    alternatives: tuple[Plan, ...] = ()
    """Plans that would fit, if none of `plans` can."""

    def with_cautions(self, file: ModelFile) -> "LoadPlans":
        """Returns the plans with their cautions added."""
        plans, found = (
            tuple(replace(plan, cautions=cautions(file, plan.settings)) for plan in some)
            for some in (self.plans, self.alternatives)
        )
        return LoadPlans(plans, found)


Placing: TypeAlias = Generator[Settings, Answer, "LoadPlans | Refusal"]


def placements(
    model: Model, options: LoadOptions, devices: Sequence[DeviceView], threads: int, available: Mapping[str, int]
) -> Placing:
    """Finds the ways to load a model, or the refusal if there are none.

    `options` come from the call; the model's options fill in what they leave open, `threads` what both do. `available`
    has the bytes of each device that the load could have once all that may be evicted is gone.
    """
    asked = options.over(model.options).chosen()
    match model.source:
        case Simulation() as simulation:
            return _simulated(model.id, simulation, asked, devices, threads)
        case ModelFile() as file:
            if why := file.problem:
                return _refused(model.id, file, why)
            ways = yield from _real(model.id, file, asked, devices, threads, available)
            return ways if isinstance(ways, Refusal) else ways.with_cautions(file)


def cautions(file: ModelFile, settings: Settings) -> tuple[str, ...]:
    """Lists the effects that settings may have on a model's answers, in words."""
    trained, tokens = file.trained_context_tokens, settings.context_tokens
    if settings.kv_split:  # each sequence has only its part
        tokens //= settings.parallel
    if not 0 < trained < tokens:
        return ()
    return (f"a context of {tokens} tokens, and it was trained for {trained}: what lies beyond may be answered badly",)


def decide(
    file: ModelFile, options: LoadOptions, threads: int, device: str, usual_batch_tokens: int = DEFAULT_BATCH_TOKENS
) -> Settings:
    """Decides what the options leave open, for one device. A context larger than the trained one is kept as asked for.

    Settings that the model dictates override the options.
    """
    usual = min(file.trained_context_tokens or UNKNOWN_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    context = context_tokens(file, options.context_tokens or usual)
    batch = batch_tokens(file.shape, context, options.batch_tokens or usual_batch_tokens)
    layers = options.gpu_layers if options.gpu_layers is not None else -1
    if known(file.shape) and layers > file.shape.layers:
        layers = -1
    parallel = options.parallel or _parallel(file.shape, options, context)
    ubatch = ubatch_tokens(file.shape, context, batch, options.ubatch_tokens)
    return Settings(
        context_tokens=context,
        threads=options.threads or threads,
        device=device,
        gpu_layers=0 if device == HOST else layers,
        batch_tokens=batch,
        kv_type=options.kv_type or "f16",
        parallel=parallel,
        ubatch_tokens=ubatch,
        flash_attention=options.flash_attention or "auto",
        outputs=ubatch if embeds(file.shape) else outputs(options.outputs, parallel, ubatch),
        swa_full=bool(options.swa_full),
        kv_split=bool(options.kv_split),
    )


def _parallel(shape: Shape, options: LoadOptions, context: int) -> int:
    """Returns the default number of sequences: more where none of them has cells or a state to itself."""
    costly = options.kv_split or any(shape.state_bytes) or (shape.sliding_window and not options.swa_full)
    ample = known(shape) and context >= MORE_PARALLEL * SEQUENCE_TOKENS
    return MORE_PARALLEL if ample and not costly else DEFAULT_PARALLEL


def with_other_settings(model: str, differs: str) -> str:
    """Says that a model is loaded with other settings than those asked for."""
    return f"{model} is loaded with other settings: {differs}"


def differences(model: Model, settings: Settings, wanted: LoadOptions) -> str:
    """Lists as text where a call asks for other settings than a model is loaded with; empty if nowhere.

    It compares with what the call's options would be decided to if all that they leave open stayed as it is, so they
    never contradict what their placement decided. "auto" asks for nothing, nor does a context that may be lowered.
    """
    wanted = wanted.chosen()
    if wanted == ANYTHING:
        return ""
    least, most = wanted.least_context_tokens, wanted.context_tokens or 0
    if least is not None and least <= settings.context_tokens <= most:
        wanted = replace(wanted, context_tokens=None)
    if wanted.gpu_layers == 0 and wanted.device is not None:
        wanted = replace(wanted, device=HOST)
    if wanted.device in (None, *settings.devices):
        wanted = replace(wanted, device=settings.device)
    file = model.source if isinstance(model.source, ModelFile) else _NO_FILE
    same = settings.again(0.0)
    has = decide(file, same, settings.threads, settings.device)
    # The layers on one device say nothing about another.
    same = same if wanted.device == settings.device else replace(same, gpu_layers=None)
    asks = {row.field: getattr(wanted, row.field) for row in LOAD_SETTINGS if not row.applied}
    asks = {name: None if value == AUTO else value for name, value in asks.items()}
    comes_to = decide(file, LoadOptions(**asks).over(same), settings.threads, str(wanted.device))
    return ", ".join(
        f"{name} is {getattr(has, name)}, asked for {getattr(comes_to, name)}"
        for name, value in asks.items()
        if value is not None and getattr(has, name) != getattr(comes_to, name)
    )


def _real(
    model: str,
    file: ModelFile,
    asked: LoadOptions,
    devices: Sequence[DeviceView],
    threads: int,
    available: Mapping[str, int],
) -> Placing:
    """Places a llama.cpp model: the first of these that fits.

    1. One GPU, the one with the least memory to spare first.
    2. Several GPUs, in proportion to their available memory.
    3. The GPU with the most memory, or several, with lowered settings.
    4. The host.
    5. If it fits nowhere: the settings asked for, and beside them settings that would fit.
    Settings that the engine refuses are skipped; if it refuses all of them, the model is refused for the first problem.
    """
    gpus = _gpus(model, asked, devices)
    if isinstance(gpus, Refusal):
        return gpus
    if asked.gpu_only and not gpus:
        why = f"{model} shall be on a GPU only, and have no layer there" if asked.gpu_layers == 0 else ""
        return refusal(Reason.DEVICE_UNUSABLE, why or _no_gpu(model, devices), model=model, device=asked.device or AUTO)
    whole: list[Plan] = []
    problems: list[Problem] = []
    for gpu in gpus:
        settings = _on_card(file, asked, threads, next(device for device in devices if device.id == gpu))
        yield from _ask(settings, whole, problems)
    fitting = [plan for plan in whole if fits(plan.quote, available)]
    if fitting:  # 1
        by_rest = sorted(fitting, key=lambda plan: available[plan.settings.device] - plan.quote.total_bytes)
        return LoadPlans(tuple(by_rest))
    kinds = {device.id: device.kind for device in devices}
    alike = len({kinds[gpu] for gpu in gpus}) == 1  # llama.cpp numbers the cards of one backend in order
    if whole and len(gpus) > 1 and alike:  # 2
        shared = yield from _ask(_shared(whole[0].settings, gpus, available), whole, problems)
        if shared and fits(shared.quote, available):
            return LoadPlans((shared,))
    if whole:  # 3
        roomiest = max(whole, key=lambda plan: sum(available.get(device, 0) for device in plan.settings.devices))
        if smaller := (yield from shrink(roomiest.settings, asked, available, file.shape.layers)):
            return LoadPlans((smaller,))
    if (asked.device in (None, HOST) or asked.gpu_layers == 0) and not asked.gpu_only:  # 4
        on_host = yield from _ask(decide(file, asked, threads, HOST), whole, problems)
        if on_host and fits(on_host.quote, available):
            return LoadPlans((on_host,))
        if on_host and (smaller := (yield from shrink(on_host.settings, asked, available, file.shape.layers))):
            return LoadPlans((smaller,))
    if not whole:
        return _refused(model, file, problems[0])
    found = yield from nearest(
        [plan.settings for plan in whole], available, file.shape.layers, gpu_only=bool(asked.gpu_only)
    )  # 5
    return LoadPlans(tuple(whole), found)


def _on_card(file: ModelFile, asked: LoadOptions, threads: int, card: DeviceView) -> Settings:
    profile = Profile.of_card(card.total_bytes) if card.total_bytes else Profile.PERFORMANCE
    settings = decide(file, asked, threads, card.id, profile.batch_tokens)
    if asked.gpu_layers is None and not known(file.shape):
        # Where the need is only a guess, the usual number of layers for such a card is a better one.
        settings = replace(settings, gpu_layers=profile.gpu_layers)
    return settings


def _ask(settings: Settings, whole: list[Plan], problems: list[Problem]) -> Generator[Settings, Answer, Plan | None]:
    """Asks for the quote of settings, and records a plan or a problem."""
    answer = yield settings
    if isinstance(answer, Problem):
        problems.append(answer)
        return None
    whole.append(Plan(settings, answer))
    return whole[-1]


def _refused(model: str, file: ModelFile, why: Problem) -> Refusal:
    known = {"model": model, "path": file.path} | ({"field": "load"} if "field" in why.reason.value.metadata else {})
    return refusal(why.reason, f"{model}: {why.text}", **known)


def _gpus(model: str, asked: LoadOptions, devices: Sequence[DeviceView]) -> list[str] | Refusal:
    """Returns the cards that may hold the model."""
    if asked.device is not None:
        chosen = next((device for device in devices if device.id == asked.device), None)
        if why := _unfit(chosen, asked.device, devices):
            return refusal(Reason.DEVICE_UNUSABLE, f"{model}: {why}", model=model, device=asked.device)
        return [] if asked.device == HOST or asked.gpu_layers == 0 else [asked.device]
    if asked.gpu_layers == 0:
        return []
    return [device.id for device in devices if _is_gpu(device) and not device.unusable]


def _is_gpu(device: DeviceView) -> bool:
    return device.kind.is_card


def _no_gpu(model: str, devices: Sequence[DeviceView]) -> str:
    unusable = "; ".join(f"{device.id}: {device.unusable}" for device in devices if _is_gpu(device))
    return f"{model} shall be on a GPU only, and there is none that can be used{unusable and ': '}{unusable}"


def _shared(settings: Settings, gpus: Sequence[str], available: Mapping[str, int]) -> Settings:
    """Spreads the layers over several cards in proportion to their available memory."""
    rooms = {gpu: max(0, available.get(gpu, 0)) for gpu in gpus}
    total = sum(rooms.values()) or 1
    shares = tuple((gpu, room / total) for gpu, room in rooms.items() if room)
    return replace(settings, device=shares[0][0], shares=shares) if len(shares) > 1 else settings


def _unfit(device: DeviceView | None, asked: str, devices: Sequence[DeviceView]) -> str:
    """Says why a real model cannot be placed on a device; empty if it can."""
    if device is None:
        return f"there is no device {asked}, only {', '.join(known.id for known in devices)}"
    if device.kind is DeviceKind.VIRTUAL:
        return f"{asked} is virtual and holds simulated models only"
    return device.unusable and f"{asked} cannot be used: {device.unusable}"


def _simulated(
    model: str, simulation: Simulation, asked: LoadOptions, devices: Sequence[DeviceView], threads: int
) -> LoadPlans | Refusal:
    """Places a simulated model as declared; the device with the most bytes counts as the one that computes."""
    known = {device.id for device in devices}
    for device in simulation.memory:
        if device not in known:
            text = f"{model}: there is no device {device}, only {', '.join(sorted(known))}"
            return refusal(Reason.DEVICE_UNUSABLE, text, model=model, device=device)
    if asked.device not in (None, *simulation.memory):
        text = f"{model} is simulated and declared for {', '.join(simulation.memory)}, not for {asked.device}"
        return refusal(Reason.DEVICE_UNUSABLE, text, model=model, device=asked.device)
    largest = max(simulation.memory, key=lambda device: simulation.memory[device])
    chosen = asked.device or largest
    settings = decide(_NO_FILE, asked, threads, chosen)
    needs = {device: DeviceBytes(weights_bytes=size) for device, size in simulation.memory.items()}
    return LoadPlans((Plan(settings, Quote(needs, Confidence.EXACT, Source.DECLARED)),))
