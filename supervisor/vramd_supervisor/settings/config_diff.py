"""Compares a configuration with the one in force: what differs, and what of it a running supervisor takes in. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum, auto
from typing import Any, TypeVar

from vramd_common.load_settings import LOAD_SETTINGS

from ..domain.config import Config, DeviceConfig, Headroom, ModelConfig, ModelRules
from ..domain.errors import in_words

NEED_RESTART: Mapping[str, frozenset[str]] = {
    "server": frozenset(
        {
            *("host", "port", "tls_cert", "tls_key", "tls_client_ca", "insecure_network"),
            *("reserved_cores", "watch", "untested_engine", "worker_environment", "stall_s", "load_stall_s"),
            *(
                "huge_pages",
                "weights",
                "stream_gap_s",
            ),
        }
    ),
    "scheduling": frozenset({"starvation_bound_s", "stop_s", "preload"}),
}
"""Keys by table that are read at the start only."""

TAKEN_IN: Mapping[str, frozenset[str]] = {
    "server": frozenset(
        {
            *("models", "lm_studio", "hugging_face", "headroom", "alarm", "yield_cores", "spare"),
            *("request_deadline_s", "load_deadline_s", "owner_grace_s", "idle_exit_s", "strikes", "quarantine_s"),
        }
    ),
    "scheduling": frozenset(
        {
            *("drain_s", "queue_per_model", "queue_total", "minimum_residency_s"),
            *("keep_resident", "at_most_resident"),
        }
    ),
}
"""Keys by table that take effect at once. Each key is in one of the two tables, which a test checks."""

_RULES = frozenset({rule.name for rule in fields(ModelRules)} - {"warm_prompt"} | {"priority", "group", "keep_alive_s"})
"""Keys of a model that concern no process."""


class Effect(Enum):
    """What a change comes to in a running supervisor."""

    APPLIED = auto()
    """It takes effect at once."""
    WHEN_IDLE = auto()
    """A process goes on with the old value until nothing runs on it, and is replaced then."""
    DRAINS = auto()
    """The model is removed: its process ends once nothing runs on it, within `drain_s`."""
    NEEDS_RESTART = auto()
    """It is left as it is until the supervisor is started again."""


@dataclass(frozen=True)
class Change:
    """One key that differs. A table that came or went has the values `{…}` and the empty text."""

    key: str
    """As it is named in the file, with dots."""
    before: str
    after: str
    effect: Effect


Table = TypeVar("Table")


def merge(
    now: Config, then: Config, devices: Collection[str], loaded: Collection[str]
) -> tuple[Config, tuple[Change, ...]]:
    """Returns the configuration that is to be in force, without what needs a restart, and all changes.

    `devices` are those that are there and answer, `loaded` the models that have a process.
    """
    server, scheduling = (
        replace(getattr(then, table), **{key: getattr(getattr(now, table), key) for key in keys})
        for table, keys in NEED_RESTART.items()
    )
    kept = {
        id_: _limits_only(now.devices.get(id_), then.devices.get(id_)) if id_ in devices else now.devices.get(id_)
        for id_ in dict.fromkeys([*now.devices, *then.devices])
    }
    merged = Config(server, scheduling, {id_: one for id_, one in kept.items() if one}, then.models)
    changes = (
        *(change for table in NEED_RESTART for change in _table(table, getattr(now, table), getattr(then, table))),
        *_devices(now, then, devices),
        *_models(now, then, loaded),
    )
    return merged, changes


def _table(table: str, now: object, then: object) -> Iterator[Change]:
    for key, before, after in _differing(now, then):
        effect = Effect.NEEDS_RESTART if key in NEED_RESTART[table] else Effect.APPLIED
        yield Change(f"{table}.{key}", before, after, effect)


def _limits_only(now: DeviceConfig | None, then: DeviceConfig | None) -> DeviceConfig | None:
    """A device is what it was at the start; its limits are new. A virtual one that was removed stays."""
    if then is None:
        return now if now and now.kind else None
    was = now or DeviceConfig()
    return replace(then, kind=was.kind, total=was.total)


def _devices(now: Config, then: Config, there: Collection[str]) -> Iterator[Change]:
    for id_ in dict.fromkeys([*now.devices, *then.devices]):
        was, becomes = now.devices.get(id_), then.devices.get(id_)
        fixed = id_ not in there or bool(was and was.kind and becomes is None)
        for key, before, after in _differing(was or DeviceConfig(), becomes or DeviceConfig()):
            needs_restart = fixed or key in ("kind", "total")
            yield Change(
                f"devices.{id_}.{key}", before, after, Effect.NEEDS_RESTART if needs_restart else Effect.APPLIED
            )


def _models(now: Config, then: Config, loaded: Collection[str]) -> Iterator[Change]:
    for id_ in dict.fromkeys([*now.models, *then.models]):
        was, becomes = now.models.get(id_), then.models.get(id_)
        if was is None or becomes is None:
            effect = Effect.DRAINS if id_ in loaded and becomes is None else Effect.APPLIED
            yield Change(f"models.{id_}", "{…}" if was else "", "{…}" if becomes else "", effect)
            continue
        for key, before, after in _differing(_flat(was), _flat(becomes)):
            waits = id_ in loaded and key not in _RULES
            yield Change(f"models.{id_}.{key}", before, after, Effect.WHEN_IDLE if waits else Effect.APPLIED)


def _flat(model: ModelConfig) -> dict[str, Any]:
    """A model's keys as the file has them."""
    own = {one.name: getattr(model, one.name) for one in fields(model) if one.name != "load"}
    return own | {row.name: getattr(model.load, row.field) for row in LOAD_SETTINGS}


def _differing(now: Any, then: Any) -> Iterator[tuple[str, str, str]]:
    """Yields each key whose value differs, with both values as text."""
    before = now if isinstance(now, dict) else {one.name: getattr(now, one.name) for one in fields(now)}
    after = then if isinstance(then, dict) else {one.name: getattr(then, one.name) for one in fields(then)}
    for key, value in before.items():
        if value != after[key]:
            yield key, _shown(key, value), _shown(key, after[key])


def _shown(key: str, value: Any) -> str:
    """A value as text; empty for one that is not set."""
    if value is None:
        return ""
    if key == "warm_prompt":
        return f"{len(value)} characters"
    if isinstance(value, Headroom):
        return f"{value.share:.0%}" if value.share else in_words(value.size_bytes)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{one} = {in_words(size)}" for one, size in value.items())
    if key in ("budget", "total"):
        return in_words(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
