"""What `import vramd` costs, and what it has."""

import importlib.metadata
import subprocess
import sys

import pytest
import vramd
from vramd import errors

HEAVY = ("grpc", "google.protobuf", "asyncio", "click", "rich")


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import vramd", "import vramd_cli.console", "import vramd.errors"])
def test_the_door_is_light(statement: str) -> None:
    assert not imported_by(statement).intersection(HEAVY)


def test_the_client_needs_no_command_line() -> None:
    assert not imported_by("from vramd import Client").intersection(("click", "rich", "psutil"))


def test_a_command_imports_what_it_needs() -> None:
    serve = imported_by("import vramd_cli.main, vramd_cli.commands.serve")
    assert not serve.intersection(("grpc", "google.protobuf", "rich", "psutil", "vramd_supervisor"))


def test_every_name_is_there() -> None:
    names = [name for name in dir(vramd) if name[0].isupper() and name != "TYPE_CHECKING"]
    assert {"Client", "Stream", "NotFound", "Receipt"} <= set(names)
    for name in names:
        assert getattr(vramd, name).__name__ == name


def test_the_version_is_that_of_the_package() -> None:
    assert vramd.__version__ == importlib.metadata.version("vramd")
    assert "__version__" in dir(vramd)


def test_every_error_can_be_caught_by_its_name() -> None:
    kinds = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, vramd.VramdError)
    ]
    assert all(getattr(vramd, kind.__name__) is kind for kind in kinds)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="Clint"):
        vramd.Clint  # type: ignore[attr-defined]  # noqa: B018  the misspelling is the point
