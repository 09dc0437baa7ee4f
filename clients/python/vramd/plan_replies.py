"""Turns messages about plans into values. Pure; shared by all clients."""

from typing import Any

from vramd_proto.v1 import load_pb2, model_pb2

from vramd.enum_words import small, word
from vramd.plan_values import (
    GivenBack,
    NearestSettings,
    Plan,
    PlannedDevice,
    PlanSettings,
    Quote,
    QuotedDevice,
    Victim,
)


def plan(message: model_pb2.PlanLoadResponse) -> Plan:
    """What a load would come to."""
    return Plan(
        model=message.model,
        fits=message.fits,
        settings=settings(message.settings),
        quote=quote(message.quote),
        devices=tuple(
            PlannedDevice(
                id=device.id,
                free_bytes=device.free_bytes,
                reserved_bytes=device.reserved_bytes,
                external_bytes=device.external_bytes,
                headroom_bytes=device.headroom_bytes,
            )
            for device in message.devices
        ),
        victims=tuple(
            Victim(
                victim.model, victim.incarnation, tuple(GivenBack(back.id, back.bytes) for back in victim.gives_back)
            )
            for victim in message.victims
        ),
        expected_load_s=message.expected_load_s if message.HasField("expected_load_s") else None,
        nearest=tuple(
            NearestSettings(
                **_settings(nearest.settings),
                needed_bytes=nearest.needed_bytes,
                changes=tuple(nearest.changes),
                lowered=small(model_pb2.Lowered, nearest.lowered),
            )
            for nearest in message.nearest
        ),
        degraded=tuple(message.degraded),
        cautions=tuple(message.cautions),
        message=message.message,
        verdict=word(model_pb2.PlanVerdict, message.verdict).lower(),
        awaited=word(model_pb2.Awaited, message.awaited).lower(),
        lowered=small(model_pb2.Lowered, message.lowered),
    )


def settings(message: model_pb2.Settings) -> PlanSettings:
    """What a load is done with."""
    return PlanSettings(**_settings(message))


def _settings(message: model_pb2.Settings) -> dict[str, Any]:
    return {
        "context": message.context_tokens,
        "batch": message.batch_tokens,
        "ubatch": message.ubatch_tokens,
        "kv_type": word(load_pb2.KvType, message.kv_type).lower(),
        "flash_attention": word(load_pb2.FlashAttention, message.flash_attention).lower(),
        "parallel": message.parallel,
        "outputs": message.outputs,
        "gpu_layers": message.gpu_layers,
        "threads": message.threads,
        "devices": tuple(message.devices),
        "swa_full": message.swa_full,
        "kv_split": message.kv_split,
    }


def quote(message: model_pb2.Quote) -> Quote:
    """What a load needs."""
    return Quote(
        source=word(model_pb2.QuoteSource, message.source).lower(),
        confidence=word(model_pb2.QuoteConfidence, message.confidence).lower(),
        seconds=message.seconds,
        devices=tuple(
            QuotedDevice(
                id=device.id,
                weights_bytes=device.weights_bytes,
                context_bytes=device.context_bytes,
                compute_bytes=device.compute_bytes,
                process_bytes=device.process_bytes,
            )
            for device in message.devices
        ),
    )
