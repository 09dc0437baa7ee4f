"""What `reload_config` returns."""

from dataclasses import dataclass

from vramd.values.words import ConfigEffect


@dataclass(frozen=True)
class ConfigChange:
    """One key of the configuration that differs from the configuration in force.

    >>> for change in client.reload_config(check_only=True).changes:
    ...     print(change.key, change.before, change.after, change.effect)
    scheduling.drain_s 30 10 applied
    """

    key: str
    """As it is named in the file, with its tables."""
    before: str
    """Value in force, as text; empty: not set. "{…}" is a whole table."""
    after: str
    """Value in the file."""
    effect: ConfigEffect


@dataclass(frozen=True)
class Reloaded:
    """The outcome of reading the configuration again.

    >>> client.reload_config().file
    '/etc/vramd.toml'
    """

    file: str
    """Empty if the supervisor was started without one."""
    changes: tuple[ConfigChange, ...]
