"""Settings under which two models fit beside each other."""

from vramd_supervisor.domain.catalog import Model, ModelFile, Shape
from vramd_supervisor.domain.device_view import DeviceKind, DeviceView
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.domain.quote import Plan
from vramd_supervisor.quoting.closed_form import quote
from vramd_supervisor.quoting.drive import drive
from vramd_supervisor.quoting.placement import LoadPlans, placements
from vramd_supervisor.quoting.together import Wanted, together

MIB = 1 << 20
SHAPE = Shape(
    layers=16,
    embedding=2048,
    feed_forward=8192,
    heads=32,
    kv_heads=(8,) * 16,
    key_length=64,
    value_length=64,
    vocabulary=32000,
    input_bytes=60 * MIB,
    output_bytes=60 * MIB,
    layer_bytes=(40 * MIB,) * 16,
)
DEVICES = (DeviceView("host", DeviceKind.HOST), DeviceView("gpu0", DeviceKind.NVIDIA))


def found(gpu_mib: int, host_mib: int = 65536) -> tuple[Plan, ...]:
    models = [Model(name, ModelFile(f"/{name}.gguf", 760 * MIB, "llama", shape=SHAPE)) for name in ("a", "b")]

    def placed(wanted: Wanted) -> LoadPlans | Refusal:
        model, options, available = wanted
        file = model.source
        assert isinstance(file, ModelFile)
        return drive(
            placements(model, options, DEVICES, 1, available), lambda settings: quote(file, settings, 50 * MIB)
        )

    return drive(together(models, {"host": host_mib * MIB, "gpu0": gpu_mib * MIB}), placed)


def test_where_there_is_room_nothing_is_given_up() -> None:
    plans = found(4096)
    assert [plan.degraded for plan in plans] == [(), ()]


def test_each_gives_up_what_makes_both_fit() -> None:
    plans = found(2300)
    assert len(plans) == 2
    assert all(plan.degraded for plan in plans)
    assert sum(plan.quote.needs["gpu0"] for plan in plans) <= 2300 * MIB


def test_models_that_never_fit_together_have_no_such_settings() -> None:
    assert found(700, host_mib=700) == ()
    assert [plan.settings.device for plan in found(100)] == ["host", "host"]
