"""Reads the configuration: one TOML file, overridden by the environment, overridden by command-line flags.

Everything is checked here, so the rest of the program can trust its configuration. Faults are raised as a ConfigError
with their places, several at once where they can be told apart.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from cattrs import BaseValidationError

from ..domain.config import Config, Headroom, ServerConfig, Size
from ..threads.serial_calls import NoAnswerError, SerialCalls
from . import toml_text
from .settings_checks import faults, nearest
from .settings_types import mistakes, structure
from .toml_lines import line_of

_PREFIX = "VRAMD_"
_VARIABLES = (
    *("CONFIG", "RUNTIME_DIR", "STATE_DIR", "LOG_LEVEL"),
    *("ADDRESS", "TOKEN", "CA", "CLIENT_CERT", "CLIENT_KEY"),
)
"""Names after the prefix that are not keys of `[server]`."""


_FILES = ("tls_cert", "tls_key", "tls_client_ca")
"""Keys of `[server]` that name a file. Those of variables and flags start at the current folder."""

FOLDER_S = 2.0
"""Time for the drive of a folder of models to say what it is."""


@dataclass(frozen=True)
class Flags:
    """Settings from the command line; None or empty defers to the environment and the file."""

    models: tuple[str, ...] = ()
    budgets: Mapping[str, Size] = field(default_factory=dict)
    host: str | None = None
    port: int | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    insecure_network: bool = False
    untested_engine: bool = False
    no_huge_pages: bool = False
    idle_exit_s: float | None = None


class ConfigError(Exception):
    """A fault in the configuration; its text is for the user, with file, line and key."""

    def __init__(self, file: Path | None, line: int | None, key: str, message: str) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(": ".join(part for part in (place, key, message) if part))
        self.file = file
        self.line = line
        self.key = key
        self.message = message
        self.others: tuple[ConfigError, ...] = ()

    def __str__(self) -> str:
        return "\n".join((super().__str__(), *map(str, self.others)))

    @classmethod
    def of(cls, errors: Sequence["ConfigError"]) -> "ConfigError":
        """Returns the first error, in the order of the file, with the others attached."""
        first, *others = sorted(errors, key=lambda error: error.line or 0)
        first.others = tuple(others)
        return first


def load_config(file: Path | None, environment: Mapping[str, str], flags: Flags) -> Config:
    """Loads and checks the whole configuration and makes model folders absolute. Raises ConfigError."""
    try:
        source = _Source(file, toml_text.read(file) if file else "")
        raw = toml_text.parse(source.text)
    except toml_text.TomlError as error:
        raise ConfigError(file, error.line, "", str(error)) from error
    source.checked(raw)  # before overrides, which must not hide a mistake in the file
    source.overlay(raw, _from_environment(environment))
    source.overlay(raw, _from_flags(flags))
    config = source.checked(raw)
    base = file.absolute().parent if file else _here()
    server = config.server
    cert, key, client_ca = (
        _absolute([file], base)[0] if file else "" for file in (server.tls_cert, server.tls_key, server.tls_client_ca)
    )
    models = _absolute(server.models, base)
    return replace(config, server=replace(server, models=models, tls_cert=cert, tls_key=key, tls_client_ca=client_ca))


@dataclass(frozen=True)
class Origin:
    """Where a configuration comes from, as it was at the start of the process."""

    file: Path | None
    environment: Mapping[str, str]
    flags: Flags

    def read(self) -> Config:
        """Reads it. Raises ConfigError. Waits for the drive of the file; a folder's drive may be gone."""
        config = load_config(self.file, self.environment, self.flags)
        for folder in config.server.models:
            if _is_file(folder):
                text = f"{folder} is a file; --models takes the folder that it is in, and finds it there"
                raise ConfigError(None, None, "", text)
        return config


def _is_file(path: str) -> bool:
    """Whether a path is a file; False also if its drive does not answer in time."""
    try:
        return SerialCalls(path, FOLDER_S).ask(lambda: os.path.isfile(path))  # noqa: PTH113  a Path raises for long names
    except NoAnswerError:
        return False


@dataclass(frozen=True)
class _Setting:
    path: tuple[str, ...]
    value: object
    origin: str
    """Variable or flag that the user set."""


def _tables(raw: Mapping[str, object], key: str) -> dict[str, dict[str, object]]:
    """Returns the tables below a key; other values are skipped and reported elsewhere."""
    tables = raw.get(key)
    if not isinstance(tables, dict):
        return {}
    return {name: table for name, table in tables.items() if isinstance(table, dict)}


class _Source:
    """A configuration file, or none, and the origins of its overrides."""

    def __init__(self, file: Path | None, text: str) -> None:
        self.file = file
        self.text = text
        self.origins: dict[tuple[str, ...], str] = {}

    def error(self, path: tuple[str, ...], message: str) -> ConfigError:
        """Builds an error that names the place that set the faulty value."""
        for end in range(len(path), 0, -1):
            if origin := self.origins.get(path[:end]):
                return ConfigError(None, None, origin, message)
        return ConfigError(self.file, line_of(self.text, path), ".".join(path), message)

    def overlay(self, raw: dict[str, object], settings: Iterable[_Setting]) -> None:
        for setting in settings:
            table = raw
            for depth, key in enumerate(setting.path[:-1], 1):
                if key not in table:
                    self.origins[setting.path[:depth]] = setting.origin
                below = table.setdefault(key, {})
                assert isinstance(below, dict), "the file is checked before"
                table = below
            table[setting.path[-1]] = setting.value
            self.origins[setting.path] = setting.origin

    def checked(self, raw: Mapping[str, object]) -> Config:
        """Converts the tables into a checked configuration. Raises ConfigError with all faults."""
        try:
            config = structure(raw)
        except BaseValidationError as error:
            raise ConfigError.of([self.error(*fault) for fault in mistakes(error)]) from error
        given = {model: frozenset(table) for model, table in _tables(raw, "models").items()}
        if wrong := [self.error(*fault) for fault in faults(config, given)]:
            raise ConfigError.of(wrong)
        return config


def _here() -> Path:
    """The current folder; once it was deleted only absolute paths mean anything."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.sep)


def _absolute(folders: Sequence[str], base: Path) -> tuple[str, ...]:
    """Makes folders absolute; relative ones start at `base`."""
    return tuple(os.path.abspath(base / Path(folder).expanduser()) for folder in folders)  # noqa: PTH100  keeps links


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Setting]:
    """Yields the keys of `[server]` from `VRAMD_PORT` and so on. Other names with this prefix are ignored."""
    for known in fields(ServerConfig):
        name = _PREFIX + known.name.upper()
        if text := environment.get(name):
            try:
                value = _read_names(text) if known.name == "worker_environment" else _READERS[known.type](text)
            except ValueError as error:
                raise ConfigError(None, None, name, str(error)) from error
            if known.name in _FILES:
                (value,) = _absolute([text], Path.cwd())
            yield _Setting(("server", known.name), value, name)


def stray_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yields a message for each variable that looks like one of vramd's and is none, with a hint."""
    known = [_PREFIX + name for name in (*_VARIABLES, *(key.name.upper() for key in fields(ServerConfig)))]
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(_PREFIX + "TEST_"):
            yield f"{name} is set, and is no variable of vramd{nearest(name, known)}"


def _from_flags(flags: Flags) -> Iterator[_Setting]:
    if flags.models:
        yield _Setting(("server", "models"), list(_absolute(flags.models, _here())), "--models")
    if flags.host is not None:
        yield _Setting(("server", "host"), flags.host, "--host")
    if flags.port is not None:
        yield _Setting(("server", "port"), flags.port, "--port")
    for key in _FILES:
        if (file := getattr(flags, key)) is not None:
            yield _Setting(("server", key), _absolute([file], Path.cwd())[0], _option(key))
    if flags.insecure_network:
        yield _Setting(("server", "insecure_network"), True, _option("insecure_network"))
    if flags.untested_engine:
        yield _Setting(("server", "untested_engine"), True, "--untested-engine")
    if flags.no_huge_pages:
        yield _Setting(("server", "huge_pages"), False, "--no-huge-pages")
    if flags.idle_exit_s is not None:
        yield _Setting(("server", "idle_exit_s"), flags.idle_exit_s, "--idle-exit")
    for device, budget in flags.budgets.items():
        yield _Setting(("devices", device, "budget"), budget, f"--budget {device}")


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _read_whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError(f"expected a whole number, got {json.dumps(text)}")
    return int(text)


def _read_number(text: str) -> float:
    if not re.fullmatch(r"\d{1,18}(\.\d{1,9})?", text, re.ASCII):
        raise ValueError(f"expected a number, got {json.dumps(text)}")
    return float(text)


def _read_truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError(f"expected true or false, got {json.dumps(text)}")
    return known[text.lower()]


def _read_folders(text: str) -> list[str]:
    return list(_absolute([folder for folder in text.split(os.pathsep) if folder], _here()))


def _read_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


_READERS: Mapping[object, Callable[[str], object]] = {
    str: str,
    int: _read_whole,
    float: _read_number,
    bool: _read_truth,
    tuple[str, ...]: _read_folders,
    Headroom | None: str,
}
