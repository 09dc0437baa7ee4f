"""What a start says, and what it warns of."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem
from vramd_supervisor.domain.config import Config, DeviceConfig, ModelConfig, SchedulingConfig, ServerConfig, Size
from vramd_supervisor.opening import lines

GIB = 1 << 30
ACCOUNTS = {"host": Account(16 * GIB, 15 * GIB), "gpu0": Account(8 * GIB, 6 * GIB)}
FINE = Model("fine", ModelFile("/m/fine.gguf", 1))


def broken(id_: str, text: str = "it is cut off") -> Model:
    return Model(id_, ModelFile(f"/m/{id_}.gguf", 1, problem=Problem(Reason.MODEL_FILE_INVALID, text)))


def said(
    level: int, config: Config, *models: Model, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> list[str]:
    told = lines("1.2.3", file, config, environment or {}, models, ACCOUNTS)
    return [text for loud, text in told if loud == level]


def test_a_few_lines_tell_what_there_is() -> None:
    config = Config(server=ServerConfig(models=("/m", "/n"), hugging_face=True))
    assert said(logging.INFO, config, FINE, broken("cut"), file=Path("/etc/vramd.toml")) == [
        f"vramd 1.2.3, configuration {Path('/etc/vramd.toml')}",
        "2 models, from /m, /n, the Hugging Face cache; 1 cannot be loaded, `vramd models` says why: cut",
        "may be taken: 15.00 GiB of 16.00 GiB on host, 6.00 GiB of 8.00 GiB on gpu0",
    ]
    assert said(logging.WARNING, config, FINE, broken("cut")) == []
    bare = said(logging.INFO, Config(), FINE)
    assert bare[:2] == ["vramd 1.2.3, no configuration file", "1 model, from no folder"]


def test_many_damaged_models_are_counted_and_few_named() -> None:
    (_, models, _) = said(logging.INFO, Config(), *(broken(f"m{number}") for number in range(9)))
    assert models.endswith("9 cannot be loaded, `vramd models` says why: m0, m1, m2, m3, m4, …")


DOUBTS: dict[str, tuple[Config, str]] = {
    "a card that is not there": (
        Config(models={"fine": ModelConfig(load=LoadOptions(device="gpu9"))}),
        "models.fine.device: there is no gpu9 here; did you mean gpu0?",
    ),
    "a device of another kind": (
        Config(models={"fine": ModelConfig(load=LoadOptions(device="vulkan0"))}),
        "models.fine.device: there is no vulkan0 here; there are host, gpu0",
    ),
    "a model without a file": (Config(models={"cut": ModelConfig()}), "models.cut: it is cut off"),
    "more than there is": (
        Config(devices={"host": DeviceConfig(budget=Size(600 * GIB))}),
        "devices.host.budget is 600.00 GiB, and host has 16.00 GiB: all of that may be taken",
    ),
    "a stop that outlasts the bound": (
        Config(scheduling=SchedulingConfig(stop_s=60)),
        "scheduling.stop_s is 60, which is not less than half of starvation_bound_s (60)",
    ),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_is_hardly_meant_is_a_warning(doubt: str) -> None:
    config, text = DOUBTS[doubt]
    (warning,) = said(logging.WARNING, config, FINE, broken("cut"))
    assert warning.startswith(text)


def test_what_is_right_is_none() -> None:
    config = Config(
        devices={"host": DeviceConfig(budget=Size(15 * GIB))},
        models={
            "fine": ModelConfig(load=LoadOptions(device="gpu0")),
            "other": ModelConfig(load=LoadOptions(device="auto")),
        },
    )
    assert said(logging.WARNING, config, FINE, environment={"VRAMD_PORT": "1", "VRAMD_TOKEN": "x", "HOME": "/"}) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [("VRAMD_PROT", "; did you mean VRAMD_PORT?"), ("VRAMD_MODEL", "VRAMD_MODELS?"), ("VRAMD_XYZ", "")],
)
def test_a_variable_that_is_none_is_told(name: str, hint: str) -> None:
    (warning,) = said(logging.WARNING, Config(), FINE, environment={name: "1"})
    assert warning.startswith(f"{name} is set, and is no variable of vramd")
    assert warning.endswith(hint)
