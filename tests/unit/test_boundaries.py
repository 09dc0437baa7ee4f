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
MAY_IMPORT = {"vramd_bench": {"vramd", "vramd_supervisor", "vramd_worker"}, "vramd_cli": {"vramd", "vramd_bench"}}
"""Besides the contract; nothing imports the command line and the benchmarks, but for `python -m vramd`."""
MAY_IMPORT_WHEN_CALLED = {"vramd_cli": {"vramd_supervisor"}}
"""Inside functions: most commands need no supervisor's package, and a client's installation has not what it needs."""
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


def imports(file: Path, *, at_once: bool = False) -> set[str]:
    """Absolute names of the modules that a file imports, wherever in it; relative ones as `.name`.

    `at_once`: without those that are imported inside functions or for types only.
    """
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if not (at_once and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node))):
            nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            level = "." * node.level
            found |= {f"{level}{node.module}"} if node.module else {f"{level}{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


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
    when_called = MAY_IMPORT_WHEN_CALLED.get(package, set())
    for file in PACKAGES[package].rglob("*.py"):
        wherever, at_once = imports(file), imports(file, at_once=True)
        strange = {module for module in wherever if module.split(".")[0] in others - when_called}
        strange |= {module for module in at_once if module.split(".")[0] in others}
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


def test_only_the_command_line_reads_options() -> None:
    for package, folder in PACKAGES.items():
        users = {file.name for file in folder.rglob("*.py") if "click" in imports(file)}
        assert not users or package == "vramd_cli", f"{users} import click"


def test_nvml_and_child_processes_each_have_one_room() -> None:
    for module, allowed in {"pynvml": "devices/nvml", "subprocess": "workers/containment", "llama_cpp": ""}.items():
        users = {room for room, modules in rooms().items() if module in modules}
        assert users <= {allowed}, f"{users} import {module}"


def test_llama_cpp_is_seen_by_its_engine_only() -> None:
    for file in PACKAGES["vramd_worker"].rglob("*.py"):
        native = {module for module in imports(file) if module.split(".")[0] == "llama_cpp"}
        assert not native or file.parent.name == "llama", f"{file} imports {native}"
