"""What a call asks of a load, from the wire to the core."""

import pytest
from vramd_common.load_settings import FLASH_ATTENTIONS, KV_TYPES, LoadOptions
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.services import validation


def test_every_word_of_the_configuration_can_be_asked_for() -> None:
    for number, word in enumerate(KV_TYPES, 1):
        assert validation.load_options(load_pb2.LoadOptions(kv_type=number)).kv_type == word  # type: ignore[arg-type]
    for number, word in enumerate(FLASH_ATTENTIONS, 1):
        asked = load_pb2.LoadOptions(flash_attention=number)  # type: ignore[arg-type]  # numbers of the enum
        assert validation.load_options(asked).flash_attention == word


def test_outputs_are_a_number_or_a_rule() -> None:
    assert validation.load_options(load_pb2.LoadOptions(output_tokens=8)).outputs == "8"
    assert validation.load_options(load_pb2.LoadOptions(output_rule=load_pb2.OUTPUT_RULE_ALL)).outputs == "all"
    assert validation.load_options(load_pb2.LoadOptions(output_rule=load_pb2.OUTPUT_RULE_AUTO)).outputs == "auto"


def test_what_is_unspecified_asks_for_nothing() -> None:
    nothing = load_pb2.LoadOptions(
        kv_type=load_pb2.KV_TYPE_UNSPECIFIED,
        flash_attention=load_pb2.FLASH_ATTENTION_UNSPECIFIED,
        output_rule=load_pb2.OUTPUT_RULE_UNSPECIFIED,
    )
    assert validation.load_options(nothing) == LoadOptions()


@pytest.mark.parametrize(
    ("field", "value"),
    [("kv_type", 99), ("flash_attention", 99), ("output_rule", 99), ("output_tokens", 0), ("output_tokens", 1 << 25)],
)
def test_what_this_version_does_not_know_is_refused(field: str, value: int) -> None:
    asked = load_pb2.LoadOptions()
    setattr(asked, field, value)
    with pytest.raises(RefusedError) as caught:
        validation.load_options(asked)
    assert caught.value.refusal.reason is Reason.FIELD_INVALID
    assert caught.value.refusal.metadata["field"] == f"load.{field}"
