"""Who may import what: nobody upwards, the pure core nothing of the world, the packages not each other."""

import ast
import importlib
import inspect
import re
from collections import Counter
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
    "errno",
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


def parts_in_order() -> list[str]:
    """The parts of the supervisor, as the table of docs/architecture.md has them."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    _, _, table = page.partition("## The supervisor: order of imports")
    return re.findall(r"^\| `(\w+)` \|", table.partition("\n## ")[0], re.MULTILINE)


def module_of(file: Path) -> tuple[str, ...]:
    """Its name with that of its package, in parts; a package is named like its folder."""
    parts = file.with_suffix("").parts
    start = next(at for at, part in enumerate(parts) if part in PACKAGES)
    return parts[start:-1] if parts[-1] == "__init__" else parts[start:]


def imported(file: Path, modules: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Those of the modules that a file imports when it is imported itself, or later; not for its types alone."""
    here = module_of(file) if file.stem == "__init__" else module_of(file)[:-1]
    tree = ast.parse(file.read_text("utf-8"))
    typing_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    skipped = {id(node) for branch in typing_only for child in branch.body for node in ast.walk(child)}
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and id(node) not in skipped:
            base = here[: len(here) - node.level + 1] if node.level else ()
            base = (*base, *(node.module.split(".") if node.module else ()))
            names = {(*base, alias.name) for alias in node.names}
            found |= names & modules | ({base} if names - modules else set())
    return found & modules


def graph() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Each module of ours with those that it imports."""
    files = {module_of(file): file for package in PACKAGES.values() for file in package.rglob("*.py")}
    return {module: imported(file, set(files)) - {module} for module, file in files.items()}


def test_nothing_is_imported_upwards() -> None:
    order, inside = parts_in_order(), {m: o for m, o in graph().items() if m[0] == "vramd_supervisor" and len(m) > 1}
    assert set(order) == {module[1] for module in inside}, "the table of docs/architecture.md has other parts"
    for module, others in inside.items():
        for other in others:
            if other[0] == "vramd_supervisor" and len(other) > 1:
                assert order.index(other[1]) <= order.index(module[1]), f"{'.'.join(module)} imports {'.'.join(other)}"


def test_there_is_no_circle_of_imports() -> None:
    left = graph()
    while leaves := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in leaves}
    assert not left, f"a circle is among {sorted('.'.join(module) for module in left)}"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_two_modules_of_a_package_have_the_same_name(package: str) -> None:
    names = Counter(file.stem for file in PACKAGES[package].rglob("*.py") if not file.stem.startswith("__"))
    assert not [name for name, times in names.items() if times > 1]


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


def test_services_decide_nothing() -> None:
    """They import values from where decisions are made, and no function: what they want to know they ask the core."""
    for file in (SUPERVISOR / "services").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in {"core", "quoting", "selection"}:
                module = importlib.import_module(f"vramd_supervisor.{node.module}")
                rules = [alias.name for alias in node.names if inspect.isfunction(getattr(module, alias.name))]
                assert not rules, f"{file.stem} imports {rules}"


def test_the_state_of_the_core_is_its_own() -> None:
    for file in SUPERVISOR.rglob("*.py"):
        if file.parent.name != "core":
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                inside = isinstance(node, ast.Attribute) and node.attr == "state" and _is_core(node.value)
                assert not inside, f"{file}:{getattr(node, 'lineno', 0)} looks into the core"


def _is_core(node: ast.expr) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in {"core", "_core"}


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
