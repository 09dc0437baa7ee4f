"""What every gRPC tool expects of a server: health and reflection."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.wire import BOUND_S, Caller, Metadata, refused

PUBLIC = {"InferenceService", "ModelService", "SupervisorService"}


def test_health_needs_no_token(caller: Caller) -> None:
    stub = health_pb2_grpc.HealthStub(caller.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=BOUND_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=BOUND_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("service", [f"vramd.v1.{name}" for name in sorted(PUBLIC)])
def test_health_tells_of_each_service(caller: Caller, service: str) -> None:
    answer = health_pb2_grpc.HealthStub(caller.channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=BOUND_S
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_a_service_that_is_none(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        request = health_pb2.HealthCheckRequest(service="vramd.v1.NoSuchService")
        health_pb2_grpc.HealthStub(caller.channel).Check(request, timeout=BOUND_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def listed_services(caller: Caller, metadata: Metadata) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = list(stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=BOUND_S))
    return {service.name for answer in answers for service in answer.list_services_response.service}


def test_reflection_lists_the_public_services(caller: Caller) -> None:
    standard = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert listed_services(caller, caller.metadata) == standard | {f"vramd.v1.{name}" for name in PUBLIC}


def test_reflection_gives_the_files_that_a_client_needs(caller: Caller) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="vramd.v1.ModelService")
    answer = next(stub.ServerReflectionInfo(iter([request]), metadata=caller.metadata, timeout=BOUND_S))
    assert any(b"vramd/v1/model.proto" in file for file in answer.file_descriptor_response.file_descriptor_proto)


@pytest.mark.parametrize(
    ("metadata", "reason"), [((), "TOKEN_MISSING"), ((("authorization", "Bearer nobody's"),), "TOKEN_INVALID")]
)
def test_reflection_needs_the_token(caller: Caller, metadata: Metadata, reason: str) -> None:
    answer = refused(lambda: listed_services(caller, metadata))
    assert (answer.code, [info.reason for info in answer.infos]) == ("UNAUTHENTICATED", [reason])
