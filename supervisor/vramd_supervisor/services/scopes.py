"""The one table of methods and scopes: what a token must be for, so that a call is admitted. Pure.

A token for use asks models, holds them and looks around; a request or a hold may load its model. A token for
administration also changes what is loaded and how the supervisor runs.
"""

from collections.abc import Mapping
from enum import Enum


class Scope(Enum):
    """What a token allows; each includes those before it."""

    NONE = 0
    """No token is needed."""
    USE = 1
    ADMIN = 2


_SCOPES: Mapping[str, Mapping[Scope, str]] = {
    "grpc.health.v1.Health": {Scope.NONE: "Check Watch List"},
    "grpc.reflection.v1alpha.ServerReflection": {Scope.USE: "ServerReflectionInfo"},
    "vramd.v1.InferenceService": {Scope.USE: "Generate Chat Embed Tokenize Detokenize"},
    "vramd.v1.ModelService": {
        Scope.USE: "ListModels GetModel PlanLoad SelectModel",
        Scope.ADMIN: "LoadModel UnloadModel RestartModel ResetModel UpdateModel RescanModels",
    },
    "vramd.v1.SupervisorService": {
        Scope.USE: "GetStatus ListDevices WatchEvents ListDecisions TailLogs HoldModel ListReservations",
        Scope.ADMIN: "ReserveMemory ReleaseMemory ReloadConfig Drain Undrain Shutdown",
    },
}

SCOPES: Mapping[str, Scope] = {
    f"/{service}/{method}": scope
    for service, methods in _SCOPES.items()
    for scope, names in methods.items()
    for method in names.split()
}
"""By the path of a method."""


def scope_of(path: str) -> Scope:
    """The scope that a method needs; one that the table does not have needs the widest."""
    return SCOPES.get(path, Scope.ADMIN)
