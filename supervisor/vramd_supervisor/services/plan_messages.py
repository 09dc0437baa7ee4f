"""Plans, quotes and settings to public messages."""

from collections.abc import Mapping

from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_proto.v1 import load_pb2, model_pb2

from ..core.forecast import LoadForecast
from ..core.view import DeviceBooks
from ..domain.quote import Plan, Quote
from .enums import AWAITED, CONFIDENCES, LOWERED, SOURCES, VERDICTS, filled


def settings(decided: Settings) -> load_pb2.Settings:
    """Settings of a load."""
    return wire_values.filled(load_pb2.Settings(), decided)


def quote(given: Quote) -> model_pb2.Quote:
    """The memory that a load needs."""
    return model_pb2.Quote(
        source=SOURCES[given.source],
        confidence=CONFIDENCES[given.confidence],
        seconds=given.seconds,
        devices=[filled(model_pb2.QuotedDevice, need, id=device) for device, need in given.devices.items()],
    )


def lowered(one: Plan) -> "list[model_pb2.Lowered.ValueType]":
    """The settings that are less than the usual ones."""
    return [LOWERED[setting] for setting in one.lowered]


def plan(model: str, forecast: LoadForecast, books: Mapping[str, DeviceBooks]) -> model_pb2.PlanLoadResponse:
    """The forecast of a load."""
    return model_pb2.PlanLoadResponse(
        model=model,
        fits=forecast.fits,
        settings=settings(forecast.plan.settings),
        quote=quote(forecast.plan.quote),
        devices=[filled(model_pb2.PlannedDevice, books[device], id=device) for device in forecast.plan.quote.devices],
        victims=[
            model_pb2.Victim(
                model=victim.model,
                worker_id=victim.worker_id,
                gives_back=[model_pb2.GivenBack(id=id_, bytes=size) for id_, size in victim.gives_back.items()],
            )
            for victim in forecast.victims
        ],
        expected_load_s=forecast.expected_load_s,
        nearest=[_nearest(one) for one in forecast.alternatives],
        degraded=forecast.plan.degraded,
        lowered=lowered(forecast.plan),
        cautions=forecast.plan.cautions,
        message=forecast.message,
        verdict=VERDICTS[forecast.verdict],
        awaited=AWAITED[forecast.awaited],
    )


def _nearest(one: Plan) -> model_pb2.NearestSettings:
    return model_pb2.NearestSettings(
        settings=settings(one.settings),
        needed_bytes=one.quote.total_bytes,
        changes=one.degraded,
        lowered=lowered(one),
    )
