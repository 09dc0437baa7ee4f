"""In which ways a model can be loaded: settings decided, and what each way needs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from vramd_proto.v1.reasons import Reason

from .catalog import (
    DEFAULT_BATCH_TOKENS,
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_PARALLEL,
    LoadOptions,
    Model,
    ModelFile,
    Settings,
    Simulation,
)
from .closed_form import quote
from .device_view import AUTO, HOST, DeviceKind, DeviceView
from .errors import Refusal, refusal
from .quote import Confidence, DeviceBytes, Quote, Source

UNKNOWN_CONTEXT_TOKENS = 4096
"""Context of a model that does not say what it was trained for."""


@dataclass(frozen=True)
class Plan:
    """One way to load a model."""

    settings: Settings
    quote: Quote


def placements(
    model: Model, options: LoadOptions, devices: Sequence[DeviceView], cores: int, idle_worker_bytes: int
) -> tuple[Plan, ...] | Refusal:
    """The ways to load a model, best first, or why there is none.

    `options` are the call's; the model's own fill what they leave open. `idle_worker_bytes` is what a worker without a
    model takes. Says nothing about what is free.
    """
    asked = options.over(model.options)
    match model.source:
        case Simulation() as simulation:
            return _simulated(model.id, simulation, asked, devices, cores)
        case ModelFile() as file:
            if why := file.problem:
                return refusal(why.reason, f"{model.id}: {why.text}", model=model.id, path=file.path)
            return _real(model.id, file, asked, devices, cores, idle_worker_bytes)


def decide(file: ModelFile, options: LoadOptions, cores: int, device: str) -> Settings:
    """Settles what the options leave open, for one device. More context than trained for is taken as asked."""
    usual = min(file.trained_context_tokens or UNKNOWN_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    context = options.context_tokens or usual
    # An encoder cannot take an input in parts, so its batch is as long as its longest input.
    batch = options.batch_tokens or (DEFAULT_BATCH_TOKENS if file.shape.causal else context)
    layers = options.gpu_layers if options.gpu_layers is not None else (0 if device == HOST else -1)
    return Settings(
        context_tokens=context,
        threads=options.threads or cores,
        device=device,
        gpu_layers=layers,
        batch_tokens=min(batch, context),
        kv_type=options.kv_type or "f16",
        parallel=options.parallel or DEFAULT_PARALLEL,
    )


def _real(
    model: str, file: ModelFile, asked: LoadOptions, devices: Sequence[DeviceView], cores: int, idle_worker_bytes: int
) -> tuple[Plan, ...] | Refusal:
    """A model of llama.cpp.

    1. A device was asked for: there, or nowhere.
    2. No layer shall be on a GPU: the host.
    3. Each usable GPU in turn, then the host.
    """
    if asked.device not in (None, AUTO):  # 1
        chosen = next((device for device in devices if device.id == asked.device), None)
        if why := _unfit(chosen, str(asked.device), devices):
            return refusal(Reason.DEVICE_UNUSABLE, f"{model}: {why}", model=model, device=asked.device)
        targets = [str(asked.device)]
    elif asked.gpu_layers == 0:  # 2
        targets = [HOST]
    else:  # 3
        targets = [device.id for device in devices if device.kind is DeviceKind.NVIDIA and not device.unusable]
        targets.append(HOST)
    decided = [decide(file, asked, cores, device) for device in targets]
    return tuple(Plan(settings, quote(file, settings, idle_worker_bytes)) for settings in decided)


def _unfit(device: DeviceView | None, asked: str, devices: Sequence[DeviceView]) -> str:
    """Why a real model cannot go there; empty if it can."""
    if device is None:
        return f"there is no device {asked}, only {', '.join(known.id for known in devices)}"
    if device.kind is DeviceKind.VIRTUAL:
        return f"{asked} is virtual and holds simulated models only"
    return device.unusable and f"{asked} cannot be used: {device.unusable}"


def _simulated(
    model: str, simulation: Simulation, asked: LoadOptions, devices: Sequence[DeviceView], cores: int
) -> tuple[Plan, ...] | Refusal:
    """Where its declaration says; the device with the largest share counts as the one that computes."""
    known = {device.id for device in devices}
    for device in simulation.memory:
        if device not in known:
            text = f"{model}: there is no device {device}, only {', '.join(sorted(known))}"
            return refusal(Reason.DEVICE_UNUSABLE, text, model=model, device=device)
    if asked.device not in (None, AUTO, *simulation.memory):
        text = f"{model} is simulated and declared for {', '.join(simulation.memory)}, not for {asked.device}"
        return refusal(Reason.DEVICE_UNUSABLE, text, model=model, device=asked.device)
    largest = max(simulation.memory, key=lambda device: simulation.memory[device])
    chosen = largest if asked.device in (None, AUTO) else str(asked.device)
    settings = decide(ModelFile(path="", size_bytes=0), asked, cores, chosen)
    needs = {device: DeviceBytes(weights_bytes=size) for device, size in simulation.memory.items()}
    return (Plan(settings, Quote(needs, Confidence.EXACT, Source.DECLARED)),)
