"""Judges what `vramd doctor` has found: a verdict for each line, and the model to take first.

Pure: `doctor` looks at the machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..core.cpu_load import CpuLoad
from ..domain.device_view import HOST
from ..domain.errors import in_words
from ..domain.host_profile import Profile, Strategy, default_threads

COMFORTABLE_SHARE = 0.8
"""A model fits comfortably if it needs no more than this of what may be promised: the rest is for the error of the
quote, and for what other programs take next."""
_LITTLE_RAM_BYTES = 4 << 30
"""Below it most models of 7 billion parameters at 4 bits do not load."""
_HARDLY_ANY_RAM_BYTES = 1 << 30
"""Supervisor, worker and the smallest models that can talk take as much."""
_LITTLE_CARD_BYTES = 1 << 30
_OLDEST_DRIVER = 525
"""The first branch of the driver that runs programs made for CUDA 12, as the ready wheels are."""
_NEWEST_PYTHON = (3, 14)

GET_LLAMA = "pip install 'vramd[llama]'"
GET_HUGE_PAGES = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
GET_MODELS = "vramd serve --models DIR"


class Verdict(str, Enum):
    OK = "ok"
    WARN = "warn"
    """It works, with less than there could be."""
    BAD = "bad"
    """Something does not work because of it."""


@dataclass(frozen=True)
class Line:
    topic: str
    what: str
    found: str
    verdict: Verdict = Verdict.OK
    why: str = ""
    """The problem in few words; empty if there is none."""
    get: str = ""
    """The line to type, or the page to open, that mends it; empty if there is none."""


@dataclass(frozen=True)
class HostFacts:
    """CPU and RAM that this process may use."""

    cpu: str
    physical_cores: int | None
    """None where the system does not tell."""
    logical_cores: int
    usable_cores: int
    """CPU threads within affinity and quota, less those that the configuration reserves."""
    quota_cores: float | None
    """CPUs' worth of time that the control group leaves; None without a limit."""
    ram_total_bytes: int
    ram_available_bytes: int
    foreign_cores: float | None = None
    """Cores' worth of time that programs take now; None where the system does not tell."""
    huge_pages: str = ""
    """The kernel's setting for huge pages; empty where workers cannot ask for them."""
    wants_huge_pages: bool = True
    """Whether the configuration has workers ask."""


@dataclass(frozen=True)
class CardFacts:
    id: str
    name: str
    total_bytes: int
    free_bytes: int
    unusable: str = ""
    """Why no model is placed on it; empty if models are."""
    get: str = ""
    """The remedy."""


@dataclass(frozen=True)
class NvidiaFacts:
    driver: str = ""
    """Version; empty if none answers."""
    silent_cards: int = 0
    """Cards on the bus, where no driver answers."""
    get_driver: str = ""


@dataclass(frozen=True)
class EngineFacts:
    """A worker's report on its llama.cpp."""

    version: str
    """Version of llama-cpp-python; empty without it."""
    problem: str
    """Why it cannot be used; empty if it can."""
    backends: Sequence[str]


@dataclass(frozen=True)
class Way:
    """One way to load a model."""

    device: str
    """The one that computes."""
    needs: Mapping[str, int]
    """Bytes per device."""


@dataclass(frozen=True)
class ModelFacts:
    id: str
    path: str
    size_bytes: int
    generates: bool = True
    """Text; False for a model that gives embeddings only."""
    problem: str = ""
    """Why it cannot be loaded; empty if it can."""
    ways: Sequence[Way] = ()
    """Best first."""


@dataclass(frozen=True)
class Facts:
    host: HostFacts
    nvidia: NvidiaFacts
    engine: EngineFacts
    versions: Mapping[str, str]
    """Versions of Python and the packages."""
    compiler: str
    """For C++; empty if there is none."""
    get_compiler: str
    supervisor: str
    """The one that runs in the runtime folder; empty if none does."""
    cards: Sequence[CardFacts] = ()
    free: Mapping[str, int] = field(default_factory=dict)
    """Bytes that may be promised now, per device."""
    models: Sequence[ModelFacts] = ()
    notes: Sequence[str] = ()
    """Warnings logged meanwhile."""


@dataclass(frozen=True)
class First:
    model: str
    device: str
    needs: Mapping[str, int]
    comfortable: bool
    why: str


def take_first(models: Sequence[ModelFacts], free: Mapping[str, int]) -> First | None:
    """The biggest model that fits comfortably; None if none fits at all.

    Before size counts: comfortably before barely, text before embeddings, a card before the host.
    """
    found = []
    for model in models:
        comfortable = _fitting(model.ways, free, COMFORTABLE_SHARE)
        if way := comfortable or _fitting(model.ways, free, 1.0):
            rank = (comfortable is not None, model.generates, way.device != HOST)
            found.append((rank, model.size_bytes, model.id, way))
    if not found:
        return None
    rank, _, model_id, way = max(found, key=lambda entry: entry[:3])
    alone = [entry[0] for entry in found].count(rank) == 1
    how = "comfortably" if rank[0] else "barely"
    need, room = in_words(way.needs[way.device]), in_words(free[way.device])
    why = f"the {'one' if alone else 'biggest'} that fits {how} there: needs {need} of {room} that may be promised"
    return First(model_id, way.device, way.needs, rank[0], why)


def _fitting(ways: Sequence[Way], free: Mapping[str, int], share: float) -> Way | None:
    fits = (way for way in ways if all(need <= share * free.get(device, 0) for device, need in way.needs.items()))
    return next(fits, None)


def diagnose(facts: Facts) -> list[Line]:
    """Judges everything, in the order of the report."""
    return [
        *_hardware(facts),
        *_defaults(facts),
        *_versions(facts),
        *_models(facts),
        Line("supervisor", "running", facts.supervisor or "none"),
        *(Line("supervisor", "note", note, Verdict.WARN, "logged") for note in facts.notes),
    ]


def _judged(topic: str, what: str, found: str, *, bad: str = "", warn: str = "", get: str = "") -> Line:
    """A line whose verdict follows from the reasons that are given."""
    verdict = Verdict.BAD if bad else Verdict.WARN if warn else Verdict.OK
    return Line(topic, what, found, verdict, bad or warn, get if bad or warn else "")


def _hardware(facts: Facts) -> Iterator[Line]:
    host, nvidia = facts.host, facts.nvidia
    cores = f"{host.physical_cores or '?'} cores, {host.logical_cores} threads, {host.usable_cores} usable"
    quota = "" if host.quota_cores is None else f", a quota of {host.quota_cores:g}"
    partly = "not all of it" if host.usable_cores < host.logical_cores else ""
    warn = "one thread for everything" if host.usable_cores == 1 else partly
    yield _judged("hardware", "CPU", f"{host.cpu}: {cores}{quota}", warn=warn)
    if host.foreign_cores is not None:
        limit = host.usable_cores
        left = CpuLoad(limit, limit).after(host.logical_cores, host.foreign_cores, follows=True).left
        warn = f"models compute with {left} threads meanwhile" if left < _threads(host) else ""
        found = f"programs that run now take {host.foreign_cores:.1f} of {host.logical_cores} threads"
        yield _judged("hardware", "CPU load", found, warn=warn)
    ram = f"{in_words(host.ram_total_bytes)}, {in_words(host.ram_available_bytes)} of it available"
    bad = "hardly any free" if host.ram_available_bytes < _HARDLY_ANY_RAM_BYTES else ""
    warn = "little free" if host.ram_available_bytes < _LITTLE_RAM_BYTES else ""
    yield _judged("hardware", "RAM", ram, bad=bad, warn=warn)
    if host.huge_pages:
        yield _huge_pages(host)
    for card in facts.cards:
        found = f"{card.name}: {in_words(card.total_bytes)}, {in_words(card.free_bytes)} of it free"
        warn = "little free" if card.free_bytes < _LITTLE_CARD_BYTES else ""
        yield _judged("hardware", card.id, found, bad=card.unusable, warn=warn, get=card.get)
    if nvidia.silent_cards and not nvidia.driver:
        found = f"{nvidia.silent_cards} NVIDIA on the bus"
        yield _judged("hardware", "GPU", found, bad="no driver answers", get=nvidia.get_driver)
    elif not facts.cards:
        yield Line("hardware", "GPU", "none: models go to the host's RAM")


def _threads(host: HostFacts) -> int:
    return default_threads(host.physical_cores, host.usable_cores)


def _huge_pages(host: HostFacts) -> Line:
    if host.huge_pages == "always":
        return Line("hardware", "huge pages", "always: every program gets them")
    if not host.wants_huge_pages:
        return Line("hardware", "huge pages", "off: the configuration says so")
    if host.huge_pages == "madvise":
        return Line("hardware", "huge pages", "madvise: models in RAM get them")
    why = "a model in RAM may answer at 0.6 of the speed, and its memory is given back later"
    return Line("hardware", "huge pages", host.huge_pages, Verdict.WARN, why, GET_HUGE_PAGES)


def _defaults(facts: Facts) -> Iterator[Line]:
    host = facts.host
    yield Line("defaults", "threads", str(_threads(host)))
    yield Line("defaults", "strategy", Strategy.of_ram(host.ram_total_bytes).value)
    for card in facts.cards:
        profile = Profile.of_card(card.total_bytes)
        layers = "all" if profile.gpu_layers < 0 else str(profile.gpu_layers)
        text = f"{profile.label}: {layers} layers, batch {profile.batch_tokens}"
        yield Line("defaults", f"profile of {card.id}", text)


def _versions(facts: Facts) -> Iterator[Line]:
    engine, nvidia = facts.engine, facts.nvidia
    for name, version in facts.versions.items():
        newer = name == "Python" and tuple(map(int, version.split(".")[:2])) > _NEWEST_PYTHON
        yield _judged("versions", name, version, warn="newer than any that was tried" if newer else "")
    found = f"{engine.version} ({', '.join(engine.backends)})" if engine.version else "not installed"
    get = "" if engine.version else GET_LLAMA
    yield _judged("versions", "llama-cpp-python", found, bad=engine.problem, get=get)
    if facts.compiler:
        yield Line("versions", "C++ compiler", facts.compiler)
    else:
        bad, warn = ("", "llama.cpp cannot be rebuilt") if engine.version else ("llama.cpp cannot be built", "")
        yield _judged("versions", "C++ compiler", "none", bad=bad, warn=warn, get=facts.get_compiler)
    if nvidia.driver:
        branch = nvidia.driver.partition(".")[0]
        older = branch.isdigit() and int(branch) < _OLDEST_DRIVER
        warn = f"older than {_OLDEST_DRIVER}, which CUDA 12 needs" if older else ""
        yield _judged("versions", "NVIDIA driver", nvidia.driver, warn=warn, get=nvidia.get_driver)


def _models(facts: Facts) -> Iterator[Line]:
    sound = [model for model in facts.models if not model.problem]
    for model in facts.models:
        if model.problem:
            yield Line("models", model.id, model.path or "no file", Verdict.BAD, model.problem)
    if facts.models:
        yield Line("models", "found", f"{len(facts.models)}, of which {len(sound)} can be loaded")
    elif facts.supervisor:
        found = "none here; the supervisor that runs has its own: `vramd models` lists them"
        yield Line("models", "found", found)
        return
    if not sound:
        why = "none was found" if not facts.models else "none can be loaded"
        yield Line("models", "take first", "none", Verdict.WARN, why, GET_MODELS)
        return
    first = take_first(sound, facts.free)
    if first is None:
        smallest = min((way.needs[way.device], way.device) for model in sound for way in model.ways)
        room = in_words(facts.free.get(smallest[1], 0))
        why = f"none of {len(sound)} fits: the least needs {in_words(smallest[0])} on {smallest[1]}, {room} are free"
        yield Line("models", "take first", "none", Verdict.BAD, why)
    elif first.comfortable:
        yield Line("models", "take first", f"{first.model} on {first.device}: {first.why}")
    else:
        yield Line("models", "take first", f"{first.model} on {first.device}: {first.why}", Verdict.WARN, "tight")
