"""The configuration: what is read, who wins, and that every error says where it is."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from vramd_common.load_settings import LoadOptions
from vramd_supervisor.domain.config import (
    MOST_WARM_CHARACTERS,
    Config,
    DeviceConfig,
    Headroom,
    ModelConfig,
    ServerConfig,
    Size,
)
from vramd_supervisor.domain.sizes import parse_budget, parse_headroom, parse_size
from vramd_supervisor.settings.settings_file import ConfigError, Flags, load_config
from vramd_supervisor.settings.toml_lines import line_of

NOTHING: Mapping[str, str] = {}
NO_FLAGS = Flags()
WHOLE = """\
[server]
port = 50200
models = ["models", "/elsewhere"]
headroom = "15%"
request_deadline_s = 5

[devices.card]
kind = "virtual"
total = "8GiB"
budget = "7GiB"
[devices.host]
budget = 600

[models.slow]
engine = "simulated"
memory = { card = "3GiB", host = "60MiB" }
load_s = 1.5
tokens_per_s = 40
manners = ["hang-in-decode"]
allocate = true

[models.talker]
path = "talker-q4.gguf"
pinned = true
context = 4096
kv_type = "q8_0"
keep_alive_s = -1
"""


def load(folder: Path, text: str, environment: Mapping[str, str] = NOTHING, flags: Flags = NO_FLAGS) -> Config:
    file = folder / "vramd.toml"
    file.write_text(text, "utf-8")
    return load_config(file, environment, flags)


def refused(folder: Path, text: str, environment: Mapping[str, str] = NOTHING, flags: Flags = NO_FLAGS) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environment, flags)
    return str(caught.value).replace(str(folder) + os.sep, "")


def test_without_anything_the_defaults_hold() -> None:
    assert load_config(None, NOTHING, Flags()) == Config()


def test_a_whole_file(tmp_path: Path) -> None:
    config = load(tmp_path, WHOLE)
    assert config.server == ServerConfig(
        port=50200,
        models=(str(tmp_path / "models"), str(Path("/elsewhere").absolute())),
        headroom=Headroom(share=0.15),
        request_deadline_s=5.0,
    )
    assert isinstance(config.server.request_deadline_s, float)
    assert config.devices == {
        "card": DeviceConfig("virtual", Size(8 << 30), Size(7 << 30)),
        "host": DeviceConfig(budget=Size(600)),
    }
    assert config.models["slow"] == ModelConfig(
        engine="simulated",
        memory={"card": Size(3 << 30), "host": Size(60 << 20)},
        load_s=1.5,
        tokens_per_s=40.0,
        manners=("hang-in-decode",),
        allocate=True,
    )
    assert config.models["talker"] == ModelConfig(
        path="talker-q4.gguf",
        pinned=True,
        load=LoadOptions(context_tokens=4096, kv_type="q8_0", keep_alive_s=-1.0),
    )


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"VRAMD_PORT": "2", "VRAMD_HOST": "0.0.0.0", "VRAMD_HEADROOM": "1GiB", "VRAMD_SPARE": "no"}
    flags = Flags(
        models=("here",), budgets={"host": Size(5), "card": Size(6)}, port=3, untested_engine=True, no_huge_pages=True
    )
    config = load(tmp_path, WHOLE, environment, flags)
    assert (config.server.port, config.server.host, config.server.spare) == (3, "0.0.0.0", False)
    assert config.server.headroom == Headroom(size_bytes=1 << 30)
    assert config.server.models == (str(tmp_path / "here"),)
    assert config.server.untested_engine
    assert not config.server.huge_pages
    assert config.devices["host"].budget == 5
    assert config.devices["card"] == DeviceConfig("virtual", Size(8 << 30), Size(6))
    assert load(tmp_path, WHOLE, {"VRAMD_PORT": "2"}).server.port == 2


def test_the_environment_sets_every_kind_of_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "VRAMD_MODELS": os.pathsep.join(["one", "", str(tmp_path / "two")]),
        "VRAMD_LOAD_DEADLINE_S": "12.5",
        "VRAMD_RESERVED_CORES": "2",
        "VRAMD_LM_STUDIO": "TRUE",
        "VRAMD_HEADROOM": "10%",
        "VRAMD_PORT": "",
    }
    assert load_config(None, environment, Flags()).server == ServerConfig(
        models=(str(tmp_path / "one"), str(tmp_path / "two")),
        load_deadline_s=12.5,
        reserved_cores=2,
        lm_studio=True,
        headroom=Headroom(share=0.1),
    )


def test_other_names_of_the_environment_mean_something_else() -> None:
    names = ("RUNTIME_DIR", "TOKEN", "TEST_EMBEDDINGS", "CONFIG", "ACCEPT_X", "NONSENSE")
    assert load_config(None, {f"VRAMD_{name}": "x" for name in names}, Flags()) == Config()


BAD = {
    ("1.5", '"x"'): 'vramd.toml:17: models.slow.load_s: expected a number of seconds, got "x"',
    ("port = 50200", 'port = "5"'): 'vramd.toml:2: server.port: expected a whole number, got "5"',
    ("port = 50200", "port = true"): "vramd.toml:2: server.port: expected a whole number, got true",
    ("port = 50200", "port = 5.0"): "vramd.toml:2: server.port: expected a whole number, got 5.0",
    ("port = 50200", "port = 65536"): "vramd.toml:2: server.port: must be 0 to 65535, not 65536",
    ("port = 50200", "port = "): "vramd.toml:2: is no valid TOML",
    ("port = 50200", "prot = 1"): "vramd.toml:2: server.prot: unknown key; did you mean port?",
    ("[server]", "[srever]"): "vramd.toml:1: srever: unknown key; did you mean server?",
    ("[server]", "server = 4\n[sever]"): "vramd.toml:1: server: expected a table, got 4",
    ("pinned = true", "pinned = 1"): "vramd.toml:24: models.talker.pinned: expected true or false, got 1",
    ("pinned = true", "pined = true"): "vramd.toml:24: models.talker.pined: unknown key; did you mean pinned?",
    (
        "pinned = true",
        "sacrificial = true",
    ): "vramd.toml:24: models.talker.sacrificial: unknown key; did you mean expendable?",
    (
        "pinned = true",
        f'warm_prompt = "{"x" * (1 + MOST_WARM_CHARACTERS)}"',
    ): "vramd.toml:24: models.talker.warm_prompt: has 1048577 characters, at most 1048576 are taken",
    ("= 1.5", '= 1\nwarm_prompt = "x"'): "vramd.toml:18: models.slow.warm_prompt: is a setting of a real model",
    ("context = 4096", "context = 0"): "vramd.toml:25: models.talker.context: must be 1 to",
    ("context = 4096", "parallel = 0"): "vramd.toml:25: models.talker.parallel: must be 1 to 256, not 0",
    ("context = 4096", "gpu_layers = -3"): 'vramd.toml:25: models.talker.gpu_layers: must be "auto", "all", or 0 to',
    (
        "context = 4096",
        'device = "crad"',
    ): "vramd.toml:25: models.talker.device: there is no device crad; did you mean card",
    ("context = 4096", "load_s = 1"): 'vramd.toml:25: models.talker.load_s: is a setting of engine = "simulated"',
    ('"q8_0"', '"q9"'): "vramd.toml:26: models.talker.kv_type: expected one of f16, f32, ",
    ("= -1", "= -2"): "vramd.toml:27: models.talker.keep_alive_s: must be 0 or more, or -1 to stay, not -2",
    ('"talker-q4.gguf"', '""'): "vramd.toml:23: models.talker.path: must name a file",
    ("= 1.5", "= nan"): "vramd.toml:17: models.slow.load_s: expected a number of seconds, got nan",
    ("= 1.5", "= inf"): "vramd.toml:17: models.slow.load_s: expected a number of seconds, got inf",
    ("= 1.5", "= -1"): "vramd.toml:17: models.slow.load_s: must be 0 or more, not -1",
    ("= 40", "= 0"): "vramd.toml:18: models.slow.tokens_per_s: must be more than 0, not 0",
    (
        '"hang-in-decode"',
        '"hang-in-deocde"',
    ): 'vramd.toml:19: models.slow.manners: knows no "hang-in-deocde"; did you mean h',
    (
        '["hang-in-decode"]',
        '"oom"',
    ): 'vramd.toml:19: models.slow.manners: expected a list of texts such as ["…"], got "oom"',
    ("{ card =", "{ cart ="): "vramd.toml:16: models.slow.memory.cart: there is no device cart; did you mean card?",
    ('"3GiB"', '"3 apples"'): 'vramd.toml:16: models.slow.memory.card: expected a size such as "8GiB"',
    ('"3GiB"', "-1"): 'vramd.toml:16: models.slow.memory.card: expected a size such as "8GiB"',
    ('{ card = "3GiB", host = "60MiB" }', "{}"): "vramd.toml:14: models.slow: memory is missing",
    ('{ card = "3GiB", host = "60MiB" }', "7"): "vramd.toml:16: models.slow.memory: expected a table, got 7",
    ("allocate = true", "path = 'm'"): "vramd.toml:20: models.slow.path: is a setting of a real model",
    ("[models.slow]", "[[models.slow]]"): "vramd.toml:14: models.slow: expected a table, got a list",
    ("[models.slow]", '[models."sl\\tow"]'): "models.sl\tow: a model needs a name",
    ('total = "8GiB"', ""): "vramd.toml:7: devices.card: total is missing",
    ('total = "8GiB"', "total = 0"): "vramd.toml:9: devices.card.total: must be more than 0",
    ('"7GiB"', '"9GiB"'): "vramd.toml:10: devices.card.budget: is 9663676416 bytes, more than the total of 8589934592",
    ('kind = "virtual"', 'kind = "vritual"'): 'vramd.toml:8: devices.card.kind: expected one of virtual, got "vritual"',
    ('kind = "virtual"', ""): "vramd.toml:7: devices.card: card is no real device",
    ("[devices.card]", "[devices.gpu0]"): "vramd.toml:7: devices.gpu0: gpu0 is the name of a real device",
    ("budget = 600", 'kind = "virtual"'): "vramd.toml:11: devices.host: host is the name of a real device",
    ("budget = 600", "total = 600"): "vramd.toml:12: devices.host.total: is known for a real device",
    ('"15%"', '"100%"'): 'vramd.toml:4: server.headroom: expected a share below 100%, got "100%"',
    ('"15%"', "0.15"): 'vramd.toml:4: server.headroom: expected a size such as "1GiB" or a share',
    ("_s = 5", "_s = 0"): "vramd.toml:5: server.request_deadline_s: must be more than 0, not 0",
    ("[server]", '[server]\nhost = ""'): "vramd.toml:2: server.host: must not be empty",
    ("[models.slow]", '[models."task:x"]'): 'models.task:x: "task:" stands before a task: call the model otherwise',
    ("pinned = true", 'tasks = [" "]'): "vramd.toml:24: models.talker.tasks: must not have an empty name",
    (
        "[server]",
        "[scheduling]\nat_most_resident = 1\nkeep_resident = 2\n[server]",
    ): "vramd.toml:3: scheduling.keep_resident: is more than at_most_resident, 1",
    ("pinned = true", 'aliases = ["slow"]'): 'vramd.toml:24: models.talker.aliases: "slow" is the name of a model',
    (
        "pinned = true",
        'aliases = ["a", "a"]',
    ): 'vramd.toml:24: models.talker.aliases: "a" is an alias of talker already',
    ("pinned = true", 'aliases = [" "]'): 'vramd.toml:24: models.talker.aliases: " " is no name',
    ("pinned = true", 'aliases = ["task:x"]'): 'vramd.toml:24: models.talker.aliases: "task:x" begins with "task:"',
    ("[server]", "[scheduling]\nqueue_total = 0\n[server]"): "vramd.toml:2: scheduling.queue_total: must be 1 to",
}


@pytest.mark.parametrize("change", BAD)
def test_an_error_says_where_and_what(tmp_path: Path, change: tuple[str, str]) -> None:
    assert change[0] in WHOLE
    said = refused(tmp_path, WHOLE.replace(*change, 1))
    assert BAD[change] in said
    assert "Traceback" not in said


def test_the_parts_of_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, WHOLE.replace("50200", '"x"'))
    error = caught.value
    assert (error.file, error.line, error.key) == (tmp_path / "vramd.toml", 2, "server.port")
    assert error.message == 'expected a whole number, got "x"'


def test_an_error_of_the_environment_or_a_flag_names_that(tmp_path: Path) -> None:
    assert refused(tmp_path, WHOLE, {"VRAMD_PORT": "x"}) == 'VRAMD_PORT: expected a whole number, got "x"'
    assert refused(tmp_path, WHOLE, {"VRAMD_PORT": "99999"}) == "VRAMD_PORT: must be 0 to 65535, not 99999"
    assert refused(tmp_path, WHOLE, {"VRAMD_SPARE": "perhaps"}).startswith("VRAMD_SPARE: expected true or false")
    assert refused(tmp_path, WHOLE, {"VRAMD_HEADROOM": "x"}).startswith("VRAMD_HEADROOM: expected a size")
    assert refused(tmp_path, WHOLE, {}, Flags(port=-1)) == "--port: must be 0 to 65535, not -1"
    assert refused(tmp_path, WHOLE, {}, Flags(budgets={"hots": Size(1)})).startswith("--budget hots: hots is no real")
    too_much = Flags(budgets={"card": Size(9 << 30)})
    assert refused(tmp_path, WHOLE, {}, too_much).startswith("--budget card: is 9663676416 bytes, more than")
    assert refused(tmp_path, "server = 4", {"VRAMD_PORT": "1"}) == "vramd.toml:1: server: expected a table, got 4"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml", NOTHING, Flags())
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"raw\.toml: is no UTF-8 text"):
        load_config(tmp_path / "raw.toml", NOTHING, Flags())
    assert "vramd.toml:2: is no valid TOML" in refused(tmp_path, "[server]\nmodels = [")


def test_lines_are_found_under_quotes_dots_and_long_texts() -> None:
    text = '''\
a.b.c = 1          # line 1
"x y" = """
a.b.d = 2
[z]
"""
[ "q.r" . 's' ]
t = ["#", "]", "a = b"]
u = { v = { w = 1 } }
'''
    assert line_of(text, ("a", "b", "c")) == 1
    assert line_of(text, ("a", "b", "d")) is None
    assert line_of(text, ("a", "b")) == 1
    assert line_of(text, ("x y",)) == 2
    assert line_of(text, ("z",)) is None
    assert line_of(text, ("q.r", "s")) == 6
    assert line_of(text, ("q.r", "s", "t")) == 7
    assert line_of(text, ("q.r", "s", "u", "v", "w")) == 8


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("8GiB", 8 << 30),
        ("600MB", 600_000_000),
        ("600 mib", 600 << 20),
        ("1.5GiB", 3 << 29),
        ("0", 0),
        ("1048576", 1 << 20),
        (" 7 B ", 7),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1.5", "8G", "1e9", "8GiBs", "0x10", "١٢", "1_000", "9" * 19 + "TiB", "8 9MB", "nan"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|more than any"):
        parse_size(text)


def test_headroom_is_the_larger_of_size_and_share() -> None:
    assert parse_headroom("2.5%").of(1000) == 25
    assert parse_headroom("1KB").of(1 << 30) == 1000


def test_budgets_of_the_command_line() -> None:
    assert parse_budget("host=600MiB") == ("host", 600 << 20)
    for wrong in ("host", "=5", "host=", "host=much"):
        with pytest.raises(ValueError, match="expected"):
            parse_budget(wrong)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    typed = WHOLE.replace("50200", '"x"').replace("allocate = true", "alocate = true").replace("= 4096", '= "long"')
    assert [line.partition(": ")[0] for line in refused(tmp_path, typed).splitlines()] == [
        f"vramd.toml:{number}" for number in (2, 20, 25)
    ]
    ranged = WHOLE.replace("50200", "99999").replace("= 40\n", "= 0\n").replace('"hang-in-decode"', '"no", "none"')
    assert [line.split(": ")[1] for line in refused(tmp_path, ranged).splitlines()] == [
        *("server.port", "models.slow.tokens_per_s"),
        *("models.slow.manners", "models.slow.manners"),
    ]


def test_a_mistake_of_the_file_is_told_although_something_stronger_hides_it(tmp_path: Path) -> None:
    wrong = WHOLE.replace("50200", "99999")
    told = "vramd.toml:2: server.port: must be 0 to 65535, not 99999"
    assert refused(tmp_path, wrong, {}, Flags(port=0)) == told
    assert refused(tmp_path, wrong, {"VRAMD_PORT": "1"}) == told


def test_the_mark_of_windows_editors_is_no_text(tmp_path: Path) -> None:
    assert load(tmp_path, "\N{ZERO WIDTH NO-BREAK SPACE}" + WHOLE) == load(tmp_path, WHOLE)


@pytest.mark.parametrize("path", [r"C:\Users\me\m.gguf", r"C:\models\m.gguf", r"models\new.gguf\x"])
def test_a_path_with_backslashes_wants_single_quotes(tmp_path: Path, path: str) -> None:
    assert refused(tmp_path, f'[models.a]\npath = "{path}"').endswith("stands in single quotes: 'C:\\Users'")
    assert load(tmp_path, f"[models.a]\npath = '{path}'").models["a"].path == path
