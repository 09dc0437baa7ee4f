"""Makes the Python code of the .proto files; `--check` says whether the code at hand was made from them.

Making needs the extra `proto` (grpcio-tools, mypy-protobuf); checking needs nothing, because every generated file
names in its first line the digest of all .proto files together. The generator's version is a floor for every importer:
hence the pin.
"""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent
PROTOS = sorted(ROOT.glob("vramd_proto/v1/*.proto"))
KINDS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GRPC_TOOLS = "1.76.0"


def header() -> str:
    """The first line of each generated file."""
    digest = hashlib.sha256()
    for proto in PROTOS:
        digest.update(proto.name.encode() + b"\0" + proto.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return f"# Made by proto/generate.py with grpcio-tools {GRPC_TOOLS}; .proto digest {digest.hexdigest()}\n"


def generated() -> list[Path]:
    return [proto.with_name(proto.stem + kind) for proto in PROTOS for kind in KINDS]


def stale() -> list[Path]:
    """Generated files that are missing, left over, or made from other .proto files."""
    expected = header()
    wrong = [path for path in generated() if not path.exists() or not path.read_text("utf-8").startswith(expected)]
    return wrong + sorted(set(ROOT.glob("vramd_proto/v1/*_pb2*.py*")) - set(generated()))


def generate() -> None:
    from grpc_tools import protoc

    if version("grpcio-tools") != GRPC_TOOLS:
        sys.exit(
            f"grpcio-tools {version('grpcio-tools')} is installed, {GRPC_TOOLS} is needed: pip install -e '.[proto]'"
        )
    outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    names = [str(proto.relative_to(ROOT)) for proto in PROTOS]
    if protoc.main(["protoc", f"-I{ROOT}", *outputs, *names]):
        sys.exit("protoc failed")
    for path in generated():
        path.write_text(header() + path.read_text("utf-8"), "utf-8", newline="\n")


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        for leftover in set(stale()) - set(generated()):
            leftover.unlink()
        generate()
    if wrong := stale():
        sys.exit(f"out of date: {', '.join(path.name for path in wrong)}; run: python proto/generate.py")
