"""Any configuration, and any traffic: it is taken or refused in words; one that is taken can be worked with."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spoiling import spoilt
from vramd_common.load_settings import LOAD_SETTINGS
from vramd_supervisor.domain.config import Config, DeviceConfig, ModelConfig, SchedulingConfig, ServerConfig
from vramd_supervisor.settings.settings_file import ConfigError, Flags, load_config
from vramd_supervisor.simulation.simulate import simulate_files
from vramd_supervisor.simulation.traffic import TrafficError, read_traffic

SEED = 1
SHORT, LONG = 150, 3000
COUNTS = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

KEYS = {
    "server": [field.name for field in fields(ServerConfig)],
    "scheduling": [field.name for field in fields(SchedulingConfig)],
    "devices.card": [field.name for field in fields(DeviceConfig)],
    "models.talker": [*(field.name for field in fields(ModelConfig)), *(row.name for row in LOAD_SETTINGS)],
}
VALUES = st.one_of(
    st.sampled_from(
        ["true", "nan", "-inf", "0", "-1", "1e400", "[]", "{}", '""', '"\\u0000"', "1979-05-27", "07:32:00"]
    ),
    st.integers().map(str),
    st.integers(0, 16).map(str),
    st.floats(0, 100, allow_subnormal=False).map(repr),
    st.sampled_from(['"8GiB"', '"5%"', '"host"', '"card"', '"simulated"', '"virtual"', '"all"', '{ card = "1GiB" }']),
    st.text("aÄ\"'\\ \t\n{}[]=#", max_size=8).map(lambda text: f"'''{text}'''"),
    st.lists(st.sampled_from(['"a"', "1", "[2]"]), max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
)
TABLES = st.fixed_dictionaries(
    {table: st.dictionaries(st.sampled_from([*keys, "unknown"]), VALUES, max_size=4) for table, keys in KEYS.items()}
)


def taken(file: Path) -> Config | None:
    """The configuration of a file; None if it is refused, in words."""
    try:
        return load_config(file, {}, Flags())
    except ConfigError as error:
        assert str(error).strip()
        return None


@pytest.mark.parametrize("examples", COUNTS)
def test_any_values_of_the_keys_are_taken_or_refused(tmp_path: Path, examples: int) -> None:
    file = tmp_path / "vramd.toml"

    @settings(max_examples=examples, derandomize=examples == SHORT, database=None)
    @given(TABLES)
    def check(tables: dict[str, dict[str, str]]) -> None:
        lines = (
            f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for table, keys in tables.items()
        )
        file.write_bytes("".join(lines).encode("utf-8", "surrogatepass"))
        taken(file)

    check()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("example", ["writing-tool", "game-and-copilot"])
def test_a_spoilt_configuration_is_refused_or_can_be_worked_with(tmp_path: Path, example: str, count: int) -> None:
    whole, traffic = (EXAMPLES / f"{example}{end}.toml" for end in ("", "-traffic"))
    (tmp_path / "traffic.toml").write_text(
        traffic.read_text("utf-8").replace("duration_s = ", "duration_s = 1 #"), "utf-8"
    )
    dice = Random(SEED)
    for _ in range(count):
        (tmp_path / "vramd.toml").write_bytes(spoilt(whole.read_bytes(), dice))
        if taken(tmp_path / "vramd.toml"):
            answered(lambda: simulate_files(tmp_path / "vramd.toml", tmp_path / "traffic.toml", {}))


@pytest.mark.parametrize("count", COUNTS)
def test_a_spoilt_traffic_is_refused_or_read(tmp_path: Path, count: int) -> None:
    whole, dice = (EXAMPLES / "game-and-copilot-traffic.toml").read_bytes(), Random(SEED)
    for _ in range(count):
        (tmp_path / "traffic.toml").write_bytes(spoilt(whole, dice))
        answered(lambda: read_traffic(tmp_path / "traffic.toml"))


def answered(call: Callable[[], object]) -> None:
    try:
        call()
    except (ConfigError, TrafficError) as error:
        assert str(error).strip()
