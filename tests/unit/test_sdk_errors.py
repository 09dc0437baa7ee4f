"""What comes over the wire instead of an answer becomes the right exception."""

import pickle

import pytest
import vramd
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from support.fake_supervisor import Refusal, status_bytes
from vramd.failures import BY_CODE, BY_REASON, failure
from vramd_common.reasons import Reason

KINDS: list[type[vramd.VramdError]] = sorted({*BY_REASON.values(), vramd.SupervisorNotFound}, key=str)


def read(reason: Reason | str, code: str = "", retry_after_s: float | None = None) -> vramd.VramdError:
    code = code or (reason.value.code if isinstance(reason, Reason) else "")
    refusal = Refusal(reason, metadata={"model": "talker"}, retry_after_s=retry_after_s)
    return failure(code, "in words", status_bytes(refusal))


def test_the_table_has_every_reason_and_no_other() -> None:
    assert set(BY_REASON) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_arrives_with_all_it_says(reason: Reason) -> None:
    error = read(reason, retry_after_s=reason.value.retry_after_s)
    assert type(error) is BY_REASON[reason]
    assert (error.reason, str(error), error.metadata) == (reason.name, "in words", {"model": "talker"})
    assert error.retry_after_s == reason.value.retry_after_s
    assert error.code == reason.value.code


@pytest.mark.parametrize("reason", Reason)
def test_a_class_fits_the_status_code_too(reason: Reason) -> None:
    fallback = BY_CODE.get(reason.value.code, vramd.VramdError)
    if reason not in (
        Reason.WORKER_CRASHED,
        Reason.WORKER_HUNG,
    ):  # the same class before and in the middle of an answer
        assert issubclass(BY_REASON[reason], fallback)


@pytest.mark.parametrize(("code", "kind"), [*BY_CODE.items(), ("ABORTED", vramd.VramdError)])
def test_an_unknown_reason_falls_back_to_the_status_code(code: str, kind: type[vramd.VramdError]) -> None:
    error = read("COMES_NEXT_YEAR", code)
    assert type(error) is kind
    assert error.reason == "COMES_NEXT_YEAR"


def test_without_details_a_deadline_is_the_callers_own() -> None:
    error = failure("DEADLINE_EXCEEDED", "Deadline Exceeded", b"")
    assert type(error) is vramd.DeadlinePassed
    assert "timeout" in str(error)


def test_without_details_unavailable_means_that_nobody_is_there() -> None:
    error = failure("UNAVAILABLE", "Connection refused", b"")
    assert type(error) is vramd.SupervisorUnreachable
    assert "Connection refused" in str(error)
    assert "vramd serve" in str(error)


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"\x1a\x05hello"])
def test_damaged_details_leave_the_code(details: bytes) -> None:
    error = failure("NOT_FOUND", "in words", details)
    assert type(error) is vramd.NotFound
    assert error.reason == "NOT_FOUND"


def test_details_of_another_domain_are_not_ours() -> None:
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason="MODEL_NOT_FOUND", domain="example.com"))
    error = failure("UNAVAILABLE", "in words", Status(details=[detail]).SerializeToString())
    assert type(error) is vramd.SupervisorUnreachable


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_a_trip_between_processes(kind: type[vramd.VramdError]) -> None:
    error = kind("REASON", "in words", {"model": "talker"}, 2.5, "UNAVAILABLE")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "in words"
    assert (copy.reason, copy.metadata, copy.retry_after_s, copy.code) == (
        "REASON",
        {"model": "talker"},
        2.5,
        "UNAVAILABLE",
    )


def test_the_reason_is_in_its_repr() -> None:
    assert repr(read(Reason.MODEL_NOT_FOUND)) == "NotFound('MODEL_NOT_FOUND', 'in words')"


@pytest.mark.parametrize(
    ("reason", "builtin"),
    [
        (Reason.MODEL_NOT_FOUND, LookupError),
        (Reason.FIELD_INVALID, ValueError),
        (Reason.DEADLINE_PASSED, TimeoutError),
        (Reason.MEMORY_EXHAUSTED, MemoryError),
        (Reason.TOKEN_INVALID, PermissionError),
    ],
)
def test_where_python_has_a_name_for_it_that_catches_it(reason: Reason, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="in words"):
        raise read(reason)
