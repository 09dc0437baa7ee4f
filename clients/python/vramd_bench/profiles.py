"""`profiles`: one model with vramd's settings for small, medium and large cards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vramd import Client, VramdError
from vramd_supervisor.domain.host_profile import Profile

from .answering import Asking, prompt_tokens
from .figures import BenchError, Figure, Result, Unit, figure
from .memory import Peak, bytes_of_all
from .subject import HOST, Setup, Subject, context_of, running

TOKENS = 64
PROMPT_TOKENS = 768
"""Several batches of any profile."""
ANSWERS = 2
"""Per run and profile; each succeeds or fails."""


def _words(profile: Profile) -> str:
    layers = "all" if profile.gpu_layers < 0 else str(profile.gpu_layers)
    return f"{profile.label}: {layers} layers on the GPU, batch {profile.batch_tokens}"


NOTES = (
    f"{'; '.join(map(_words, Profile))}. Nothing is lowered so that it fits: what does not fit fails.",
    f"A prompt of about {PROMPT_TOKENS} tokens, an answer of {TOKENS}; the profiles take turns, and the model is "
    "loaded again for each.",
    "RAM: of all of vramd's processes, as in the benchmark memory; the peak is that of load and first answer.",
)
NO_GPU = (
    "There is no GPU here that models can use: the profiles differ by their batch alone, and balanced is the same as "
    "performance."
)
CARD = "On the GPU: what its driver shows for the worker; its peak is what it holds after the answers."


@dataclass
class Turn:
    """One load of one profile, and its answers."""

    seen: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Why, for each answer that failed; a load that failed fails them all."""

    def add(self, name: str, value: float) -> None:
        self.seen.setdefault(name, []).append(value)


_LOADED, _PEAK, _ON_CARD, _CARD_PEAK = "RAM after load", "RAM, peak", "on the GPU after load", "on the GPU, peak"
_FIRST, _RATE, _FAILED = "first token", "tokens per second", "failed / all answers"
_UNITS = {
    _LOADED: Unit.BYTES,
    _PEAK: Unit.BYTES,
    _ON_CARD: Unit.BYTES,
    _CARD_PEAK: Unit.BYTES,
    _FIRST: Unit.SECONDS,
    _RATE: Unit.TOKENS_PER_S,
    _FAILED: Unit.RATIO,
}


def measure(setup: Setup, say: Callable[[str], None]) -> Result:
    """Counts the profiles that fail. Raises BenchError if none can be loaded, and VramdError."""
    turns: dict[str, list[Turn]] = {profile.label: [] for profile in Profile}
    with running(setup, ["a"]) as subject:
        subject.wait_for_spare()  # from now on it is known which devices can be used
        device, profiles = _device(subject.client), list(Profile)
        for run in range(setup.runs):
            # No profile always comes first: what the first leaves behind meets all.
            for profile in profiles[::-1] if run % 2 else profiles:
                say(f"profiles: {profile.label}, run {run + 1} of {setup.runs}")
                turns[profile.label].append(_one_turn(subject, profile, device, setup.quick))
    return result(turns, device)


def result(turns: Mapping[str, Sequence[Turn]], device: str) -> Result:
    """One figure for each measure and profile, those of a measure together; none where nothing was measured.

    Raises BenchError if nothing was measured at all.
    """
    if not any(turn.seen for of_profile in turns.values() for turn in of_profile):
        raise BenchError(f"no profile could be loaded: {next(iter(turns.values()))[0].failures[0]}")
    figures = [
        found
        for name, unit in _UNITS.items()
        for profile, of_profile in turns.items()
        if (found := _figure(f"{name}, {profile}", unit, of_profile, name))
    ]
    whys = dict.fromkeys(
        f"{profile} failed: {why}" for profile, found in turns.items() for turn in found for why in turn.failures
    )
    return Result("profiles", tuple(figures), (*NOTES, NO_GPU if device == HOST else CARD, *whys))


def _figure(title: str, unit: Unit, turns: Sequence[Turn], name: str) -> Figure | None:
    values = [value for turn in turns for value in turn.seen.get(name, ())]
    if name == _FAILED:
        values = [_share_failed(turn) for turn in turns]
    return figure(title, unit, values) if values else None


def _share_failed(turn: Turn) -> float:
    return len(turn.failures) / (len(turn.failures) + len(turn.seen.get(_RATE, ())))


def _device(client: Client) -> str:
    """The first GPU on which models are placed, else the host."""
    cards = (card.id for card in client.devices() if card.kind in ("nvidia", "backend") and card.unusable is None)
    return next(cards, HOST)


def _one_turn(subject: Subject, profile: Profile, device: str, quick: bool) -> Turn:
    tokens, answers = (8, 1) if quick else (TOKENS, ANSWERS)
    turn = Turn()
    try:
        with Peak(subject.pid) as peak:
            asking = _load(subject, profile, device, tokens, quick, turn)
            asking.answer(2)
        turn.add(_PEAK, peak.most_bytes)
    except VramdError as error:
        turn.failures += [str(error)] * answers
    else:
        for _ in range(answers):
            _ask(asking, tokens, turn)
        _note_card(subject.client, _CARD_PEAK, turn)
    if subject.client.model("a").resident is not None:
        subject.client.unload("a", force=True)
    return turn


def _load(subject: Subject, profile: Profile, device: str, tokens: int, quick: bool, turn: Turn) -> Asking:
    layers = None if device == HOST else profile.gpu_layers
    loaded = subject.client.load("a", device=device, gpu_layers=layers, batch=profile.batch_tokens, degrade=False)
    subject.wait_for_spare()
    turn.add(_LOADED, bytes_of_all(subject.pid))
    _note_card(subject.client, _ON_CARD, turn)
    length = prompt_tokens(16 if quick else PROMPT_TOKENS, context_of(loaded), max(tokens, TOKENS))
    return Asking(subject.client, "a", length)


def _ask(asking: Asking, tokens: int, turn: Turn) -> None:
    try:
        answer = asking.answer(tokens)
    except VramdError as error:
        turn.failures.append(str(error))
        return
    turn.add(_FIRST, answer.first_token_s)
    turn.add(_RATE, answer.tokens_per_s)


def _note_card(client: Client, name: str, turn: Turn) -> None:
    """Notes the bytes that the worker holds on cards, as far as their drivers tell."""
    told = [
        use.measured_bytes
        for model in client.resident()
        for use in model.devices
        if use.id != HOST and use.measured_bytes is not None
    ]
    if told:
        turn.add(name, sum(told))
