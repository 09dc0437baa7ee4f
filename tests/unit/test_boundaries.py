"""Who may import what: the pure core nothing of the world, the packages not each other, protobuf and NVML few."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUPERVISOR = ROOT / "supervisor/vramd_supervisor"
PACKAGES = {
    "vramd_supervisor": SUPERVISOR,
    "vramd_worker": ROOT / "worker/vramd_worker",
    "vramd": ROOT / "clients/python/vramd",
    "vramd_proto": ROOT / "proto/vramd_proto",
}
PURE = {
    "actions",
    "callers",
    "catalog",
    "closed_form",
    "config",
    "core",
    "cores",
    "device_view",
    "errors",
    "events",
    "ledger",
    "listing",
    "lives",
    "placement",
    "policy",
    "quote",
    "receipt",
    "room",
    "scheduler",
    "sizes",
    "state",
    "view",
    "world",
}
HARMLESS = {
    "collections",
    "dataclasses",
    "difflib",
    "enum",
    "itertools",
    "math",
    "pathlib",
    "re",
    "typing",
    "typing_extensions",
}
SEES_PROTOBUF = {
    "door",
    "feed",
    "messages",
    "server",
    "service_inference",
    "service_models",
    "service_supervisor",
    "status",
    "validation",
    "worker_client",
    "workers",
}


def imports(file: Path) -> set[str]:
    """Absolute names of the modules that a file imports, wherever in it; relative ones as `.name`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found |= {f".{node.module}"} if node.module else {f".{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_core_is_pure(name: str) -> None:
    for module in imports(SUPERVISOR / f"{name}.py"):
        if module.startswith("."):
            assert module[1:] in PURE, f"{name} imports the shell: {module}"
        else:
            allowed = module == "vramd_proto.v1.reasons" or module.split(".")[0] in HARMLESS
            assert allowed, f"{name} imports {module}"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_packages_share_the_contract_only(package: str) -> None:
    others = {name for name in PACKAGES if name not in (package, "vramd_proto")}
    for file in PACKAGES[package].rglob("*.py"):
        strange = {module for module in imports(file) if module.split(".")[0] in others}
        assert not strange, f"{file} imports {strange}"


def test_protobuf_is_seen_by_the_services_and_the_worker_client_only() -> None:
    for file in SUPERVISOR.glob("*.py"):
        wire = {m for m in imports(file) if "_pb2" in m or m.startswith(("google.", "grpc"))}
        assert not wire or file.stem in SEES_PROTOBUF, f"{file.stem} imports {wire}"


def test_nvml_and_signals_each_have_one_room() -> None:
    rooms = {"pynvml": {"nvml"}, "subprocess": {"containment"}, "llama_cpp": set[str]()}
    for file in SUPERVISOR.glob("*.py"):
        for module, allowed in rooms.items():
            assert module not in imports(file) or file.stem in allowed, f"{file.stem} imports {module}"


def test_llama_cpp_is_seen_by_its_engine_only() -> None:
    for file in PACKAGES["vramd_worker"].rglob("*.py"):
        native = {module for module in imports(file) if module.split(".")[0] == "llama_cpp"}
        assert not native or file.parent.name == "llama", f"{file} imports {native}"
