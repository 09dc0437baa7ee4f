"""What a running supervisor takes in of a changed configuration."""

from dataclasses import fields, replace

import pytest
from vramd_common.load_settings import LoadOptions
from vramd_supervisor.domain.config import (
    Config,
    DeviceConfig,
    Headroom,
    ModelConfig,
    SchedulingConfig,
    ServerConfig,
    Size,
)
from vramd_supervisor.settings.config_diff import NEED_RESTART, TAKEN_IN, Change, Effect, merge

TALKER = ModelConfig(load=LoadOptions(context_tokens=4096))
NOW = Config(
    ServerConfig(models=("/models",)),
    SchedulingConfig(),
    {"card": DeviceConfig(kind="virtual", total=Size(8 << 30)), "host": DeviceConfig(budget=Size(2 << 30))},
    {"talker": TALKER},
)
THERE = ("host", "card", "gpu0")


def merged(then: Config, *loaded: str) -> tuple[Config, dict[str, tuple[str, str, str]]]:
    config, changes = merge(NOW, then, THERE, loaded)
    return config, {change.key: (change.before, change.after, change.effect.name) for change in changes}


@pytest.mark.parametrize(("table", "kind"), [("server", ServerConfig), ("scheduling", SchedulingConfig)])
def test_every_key_is_taken_in_or_needs_a_restart(table: str, kind: type) -> None:
    assert sorted([*NEED_RESTART[table], *TAKEN_IN[table]]) == sorted(one.name for one in fields(kind))


def test_nothing_has_changed() -> None:
    assert merge(NOW, replace(NOW), THERE, ["talker"]) == (NOW, ())


def test_what_needs_a_restart_stays_as_it_is_and_is_said() -> None:
    then = replace(NOW, server=replace(NOW.server, port=1, alarm=0.5, models=("/models", "/more")))
    config, changes = merged(then)
    assert (config.server.port, config.server.alarm) == (50151, 0.5)
    assert changes == {
        "server.port": ("50151", "1", "NEEDS_RESTART"),
        "server.alarm": ("0.9", "0.5", "APPLIED"),
        "server.models": ("/models", "/models, /more", "APPLIED"),
    }
    assert merge(config, then, THERE, ())[1] == (Change("server.port", "50151", "1", Effect.NEEDS_RESTART),)


def test_a_device_is_what_it_was_and_its_limits_are_new() -> None:
    devices = {
        "card": DeviceConfig(kind="virtual", total=Size(9 << 30), budget=Size(3 << 30)),
        "gpu0": DeviceConfig(headroom=Headroom(share=0.2)),
        "other": DeviceConfig(kind="virtual", total=Size(1 << 30)),
    }
    config, changes = merged(replace(NOW, devices=devices))
    assert changes == {
        "devices.card.total": ("8.00 GiB", "9.00 GiB", "NEEDS_RESTART"),
        "devices.card.budget": ("", "3.00 GiB", "APPLIED"),
        "devices.host.budget": ("2.00 GiB", "", "APPLIED"),
        "devices.gpu0.headroom": ("", "20%", "APPLIED"),
        "devices.other.kind": ("", "virtual", "NEEDS_RESTART"),
        "devices.other.total": ("", "1.00 GiB", "NEEDS_RESTART"),
    }
    assert config.devices == {
        "card": DeviceConfig(kind="virtual", total=Size(8 << 30), budget=Size(3 << 30)),
        "gpu0": DeviceConfig(headroom=Headroom(share=0.2)),
    }


def test_a_device_that_has_not_answered_keeps_its_limits_until_it_has() -> None:
    then = replace(NOW, devices={**NOW.devices, "host": DeviceConfig(budget=Size(1 << 30))})
    told = Change("devices.host.budget", "2.00 GiB", "1.00 GiB", Effect.NEEDS_RESTART)
    config, changes = merge(NOW, then, ("card",), ())
    assert (config.devices, changes) == (NOW.devices, (told,))
    config, changes = merge(config, then, ("card", "host"), ())
    assert (config.devices, changes) == (then.devices, (replace(told, effect=Effect.APPLIED),))


def test_a_virtual_device_does_not_go_while_models_lie_on_it() -> None:
    config, changes = merged(replace(NOW, devices={"host": NOW.devices["host"]}))
    assert config.devices == NOW.devices
    assert {effect for _, _, effect in changes.values()} == {"NEEDS_RESTART"}


def test_a_model_that_is_loaded_goes_on_with_what_it_was_loaded_with() -> None:
    load = LoadOptions(context_tokens=8192, keep_alive_s=60.0)
    otherwise = replace(TALKER, pinned=True, warm_prompt="Be brief.", load=load)
    then = replace(NOW, models={"talker": otherwise, "coder": ModelConfig()})
    config, changes = merged(then, "talker")
    assert config.models == then.models
    assert changes == {
        "models.talker.pinned": ("false", "true", "APPLIED"),
        "models.talker.warm_prompt": ("0 characters", "9 characters", "WHEN_IDLE"),
        "models.talker.context": ("4096", "8192", "WHEN_IDLE"),
        "models.talker.keep_alive_s": ("", "60", "APPLIED"),
        "models.coder": ("", "{…}", "APPLIED"),
    }
    assert merged(then)[1]["models.talker.context"] == ("4096", "8192", "APPLIED")
    assert merged(replace(NOW, models={}), "talker")[1] == {"models.talker": ("{…}", "", "DRAINS")}
