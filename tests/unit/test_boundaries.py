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
    "vramd_bench": ROOT / "clients/python/vramd_bench",
    "vramd_cli": ROOT / "clients/python/vramd_cli",
    "vramd_common": ROOT / "proto/vramd_common",
    "vramd_proto": ROOT / "proto/vramd_proto",
}
PURE = ("domain", "quoting", "selection", "core")
MAY_IMPORT = {"vramd_bench": {"vramd"}, "vramd_cli": {"vramd", "vramd_bench"}}
HARMLESS = {
    "bisect",
    "collections",
    "dataclasses",
    "difflib",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "math",
    "pathlib",
    "re",
    "typing",
    "typing_extensions",
    "unicodedata",
}
SEES_PROTOBUF = {"offline/plan_cards", "server", "wire_status", "workers/worker_client", "workers/workers"}
"""Besides the services."""


def imports(file: Path) -> set[str]:
    """Absolute names of the modules that a file imports, wherever in it; relative ones as `.name`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            level = "." * node.level
            found |= {f"{level}{node.module}"} if node.module else {f"{level}{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize(
    "file", sorted(file for room in PURE for file in (SUPERVISOR / room).glob("*.py")), ids=lambda file: file.stem
)
def test_the_core_is_pure(file: Path) -> None:
    for module in imports(file):
        if module.startswith("."):
            beside = (file.parent / f"{module[1:]}.py").exists()
            assert beside or module[2:].split(".")[0] in PURE, f"{file.stem} imports the shell: {module}"
        else:
            contract = {f"vramd_common.{name}" for name in ("load_settings", "printable", "reasons", "sizes")}
            allowed = module in contract or module.split(".")[0] in HARMLESS
            assert allowed, f"{file.stem} imports {module}"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_packages_share_the_contract_only(package: str) -> None:
    others = set(PACKAGES) - {package, "vramd_common", "vramd_proto", *MAY_IMPORT.get(package, ())}
    for file in PACKAGES[package].rglob("*.py"):
        strange = {module for module in imports(file) if module.split(".")[0] in others}
        if file == PACKAGES["vramd"] / "__main__.py":
            strange -= {"vramd_cli.console"}  # `python -m vramd` is the command line
        assert not strange, f"{file} imports {strange}"


def rooms() -> dict[str, set[str]]:
    """What each room of the supervisor imports, by its path without the ending."""
    return {str(file.relative_to(SUPERVISOR).with_suffix("")): imports(file) for file in SUPERVISOR.rglob("*.py")}


def test_protobuf_is_seen_by_the_services_and_the_worker_client_only() -> None:
    for room, modules in rooms().items():
        wire = {module for module in modules if "_pb2" in module or module.startswith(("google.", "grpc"))}
        assert not wire or room in SEES_PROTOBUF or room.startswith("services/"), f"{room} imports {wire}"


def test_nvml_and_child_processes_each_have_one_room() -> None:
    for module, allowed in {"pynvml": "devices/nvml", "subprocess": "workers/containment", "llama_cpp": ""}.items():
        users = {room for room, modules in rooms().items() if module in modules}
        assert users <= {allowed}, f"{users} import {module}"


def test_llama_cpp_is_seen_by_its_engine_only() -> None:
    for file in PACKAGES["vramd_worker"].rglob("*.py"):
        native = {module for module in imports(file) if module.split(".")[0] == "llama_cpp"}
        assert not native or file.parent.name == "llama", f"{file} imports {native}"
