"""Plans, quotes and settings to public messages."""

from collections.abc import Mapping

from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_proto.v1 import load_pb2, model_pb2

from ..core.forecast import LoadForecast
from ..core.view import DeviceBooks
from ..domain.quote import Plan, Quote
from .enums import filled


def settings(decided: Settings) -> load_pb2.Settings:
    """Settings of a load."""
    return wire_values.filled(load_pb2.Settings(), decided)


def quote(given: Quote) -> model_pb2.Quote:
    """The memory that a load needs."""
    devices = [filled(model_pb2.QuotedDevice, need, id=device) for device, need in given.devices.items()]
    return filled(model_pb2.Quote, given, devices=devices)


def plan(model: str, forecast: LoadForecast, books: Mapping[str, DeviceBooks]) -> model_pb2.PlanLoadResponse:
    """The forecast of a load."""
    found = forecast.plan
    return filled(
        model_pb2.PlanLoadResponse,
        forecast,
        model=model,
        settings=settings(found.settings),
        quote=quote(found.quote),
        devices=[filled(model_pb2.PlannedDevice, books[device], id=device) for device in found.quote.devices],
        victims=[
            filled(
                model_pb2.Victim,
                victim,
                gives_back=[model_pb2.GivenBack(id=id_, bytes=size) for id_, size in victim.gives_back.items()],
            )
            for victim in forecast.victims
        ],
        nearest=[_nearest(one) for one in forecast.alternatives],
        degraded=found.degraded,
        lowered=found.lowered,
        cautions=found.cautions,
    )


def _nearest(one: Plan) -> model_pb2.NearestSettings:
    needed_bytes, chosen = one.quote.total_bytes, settings(one.settings)
    return filled(model_pb2.NearestSettings, one, settings=chosen, needed_bytes=needed_bytes, changes=one.degraded)
