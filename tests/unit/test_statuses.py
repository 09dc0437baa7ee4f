"""Reasons on the wire: packed within the bounds, read back as they were, foreign details left alone."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from vramd_common.printable import cut
from vramd_common.reasons import Reason
from vramd_common.statuses import pack, unpack


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_travels_with_its_code_and_tells_when_to_try_again(reason: Reason) -> None:
    metadata = dict.fromkeys(reason.value.metadata, "x")
    packed = pack(reason, "why\n  not", metadata | {"secret": "y"})
    status = Status.FromString(packed.details)
    assert (packed.code, packed.message, status.message) == (reason.value.code, "why not", "why not")
    info = ErrorInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    told = unpack(packed.details)
    assert told is not None
    assert (told.reason, told.metadata, told.retry_after_s) == (reason.name, metadata, reason.value.retry_after_s)


@pytest.mark.parametrize("reason", Reason)
def test_no_status_is_larger_than_a_trailer_may_be(reason: Reason) -> None:
    endless = "雪" * 10_000
    packed = pack(reason, endless, dict.fromkeys(reason.value.metadata, endless))
    assert len(packed.message.encode()) <= 1024
    assert len(packed.details) <= 4096


@given(st.text(), st.integers(3, 40))
def test_a_cut_keeps_whole_characters_within_the_bound(text: str, most_bytes: int) -> None:
    short = cut(text, most_bytes)
    assert len(short.encode()) <= most_bytes
    assert text.encode("utf-8", "replace").decode().startswith(short.removesuffix("…"))


@given(st.binary(max_size=200))
def test_what_is_not_in_our_words_is_none_of_ours(details: bytes) -> None:
    assert unpack(details) is None


def test_another_domain_is_none_of_ours() -> None:
    status = Status()
    status.details.add().Pack(ErrorInfo(reason="QUEUE_FULL", domain="elsewhere"))
    assert unpack(status.SerializeToString()) is None
