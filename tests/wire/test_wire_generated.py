"""The checked-in code: noticed when it is out of date, and usable with the oldest libraries that are allowed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import vramd
import vramd_proto
from support.programs import python
from support.supervisor_process import SupervisorProcess

BOUND_S = 100.0
ROOT = Path(__file__).parents[2]
OPTION_TYPES = Path("clients/python/vramd/option_types.py")
OLDEST = ("protobuf==6.31.1", "grpcio==1.76.0")
BESIDE = ("googleapis-common-protos==1.70.0", "platformdirs", "typing-extensions")

TALK = """
import sys
import google.protobuf, grpc, vramd
print(google.protobuf.__version__, grpc.__version__)
with vramd.Client(sys.argv[1]) as client:
    print([model.id for model in client.models()])
    print(client.chat("talker", "What is new?", max_tokens=4).finish.usage.completion_tokens)
    try:
        client.model("nobody")
    except vramd.NotFound as error:
        print(error.reason, error.metadata)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / OPTION_TYPES).parent.mkdir(parents=True)
    shutil.copy(ROOT / OPTION_TYPES, tmp_path / OPTION_TYPES)
    return tmp_path / "proto"


def check(proto: Path) -> "subprocess.CompletedProcess[str]":
    return python(str(proto / "generate.py"), "--check", bound_s=BOUND_S)


def test_the_generated_code_is_fresh(copy: Path) -> None:
    done = check(copy)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_proto_is_noticed(copy: Path) -> None:
    model = copy / "vramd" / "v1" / "model.proto"
    model.write_text(model.read_text("utf-8").replace("bool pinned = 11;", "bool nailed = 11;"), "utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert "out of date" in done.stderr
    assert "generate.py" in done.stderr


def test_a_missing_file_and_a_left_over_one_are_noticed(copy: Path) -> None:
    folder = copy / "vramd_proto" / "v1"
    (folder / "load_pb2.pyi").unlink()
    (folder / "gone_pb2.py").write_text("")
    done = check(copy)
    assert done.returncode == 1
    assert "gone_pb2.py, load_pb2.pyi" in done.stderr


def test_generated_code_that_somebody_edited_is_noticed(copy: Path) -> None:
    made = copy / "vramd_proto" / "internal" / "v1" / "worker_pb2.py"
    made.write_text(made.read_text("utf-8") + "EDITED = True\n", "utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert "out of date" in done.stderr


def test_option_types_that_are_not_those_of_the_tables_are_noticed(copy: Path) -> None:
    made = copy.parent / OPTION_TYPES
    made.write_text(made.read_text("utf-8").replace("context:", "contexts:"), "utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert "option_types.py" in done.stderr


def test_a_proto_lies_where_its_package_says() -> None:
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    assert len(protos) == 5
    for proto in protos:
        package = ".".join(proto.parent.relative_to(ROOT / "proto").parts)
        assert f"\npackage {package};\n" in proto.read_text("utf-8"), proto


def test_other_line_breaks_are_no_change(copy: Path) -> None:
    for proto in copy.rglob("*.proto"):
        proto.write_bytes(proto.read_bytes().replace(b"\n", b"\r\n"))
    assert check(copy).returncode == 0


def test_the_floors_are_those_that_are_tried_here() -> None:
    floors = re.findall(r'"((?:protobuf|grpcio)>=[\d.]+)', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert {floor.replace(">=", "==") for floor in floors} == {"protobuf==6.31.1", "grpcio==1.76"}


def test_the_oldest_libraries_speak_to_the_newest(tmp_path: Path, supervisor: SupervisorProcess) -> None:
    """The client runs with them; the supervisor with what is installed here."""
    old = tmp_path / "old"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(old), *OLDEST, *BESIDE]
    subprocess.run(pip, check=True, timeout=BOUND_S)
    own = [str(Path(package.__path__[0]).parent) for package in (vramd_proto, vramd)]
    program = f"import sys; sys.path[:0] = {[str(old), *own]!r}\n{TALK}"
    done = python("-I", "-S", "-c", program, str(supervisor.folder.path), bound_s=BOUND_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "6.31.1 1.76.0",
        "['slow', 'talker', 'unused']",
        "4",
        "MODEL_NOT_FOUND {'model': 'nobody'}",
    ]
