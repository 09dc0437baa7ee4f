"""Makes the Python code of the .proto files; `--check` says whether the code at hand is what was made of them.

The .proto files lie where their package says: `vramd/v1` is public, `vramd/internal/v1` is not. Their Python modules
go into the package `vramd_proto`, as `vramd` is the SDK. Making needs the extra `proto` (grpcio-tools, mypy-protobuf);
checking needs nothing: `generated.digest` has the digests of the .proto files and of what was made of them. The
generator's version is a floor for every importer: hence the pin.
"""

import hashlib
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import typed_settings

ROOT = Path(__file__).parent
PROTOS = sorted((ROOT / "vramd").rglob("*.proto"))
PACKAGE = ROOT / "vramd_proto"
KINDS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GRPC_TOOLS = "1.76.0"
DIGEST = ROOT / "generated.digest"

# Where generated code names a module of the contract: an import, or the module that its classes belong to.
_MODULE = re.compile(
    r"^(from |import |.*BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')vramd\.(?=v1|internal)", re.MULTILINE
)


def digest(paths: list[Path]) -> str:
    """Of the names and texts of these files, whatever their line breaks."""
    total = hashlib.sha256()
    for path in paths:
        total.update(
            path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0"
        )
    return total.hexdigest()


def generated() -> list[Path]:
    """Every file that is to be there."""
    homes = [(PACKAGE / proto.relative_to(ROOT / "vramd")) for proto in PROTOS]
    return [home.with_name(home.stem + kind) for home in homes for kind in KINDS]


def present() -> list[Path]:
    """Every generated file that is there."""
    return sorted(path for path in PACKAGE.rglob("*_pb2*.py*") if path.parent.name != "__pycache__")


def facts() -> str:
    """What the digest file has to say."""
    return f"grpcio-tools {GRPC_TOOLS}\nproto {digest(PROTOS)}\npython {digest(sorted(generated()))}\n"


def problem() -> str:
    """Why the generated code is not what the .proto files give; empty if it is."""
    missing, left = set(generated()) - set(present()), set(present()) - set(generated())
    if missing or left:
        names = ", ".join(sorted(path.name for path in missing | left))
        return f"missing or left over: {names}"
    if not DIGEST.exists() or DIGEST.read_text("utf-8") != facts():
        return "the .proto files or what was made of them have changed"
    if not typed_settings.FILE.exists() or typed_settings.FILE.read_text("utf-8") != typed_settings.text():
        return f"the tables of settings or {typed_settings.FILE.name} have changed"
    return ""


def generate() -> None:
    """Makes all files anew."""
    from grpc_tools import protoc

    if version("grpcio-tools") != GRPC_TOOLS:
        sys.exit(
            f"grpcio-tools {version('grpcio-tools')} is installed, {GRPC_TOOLS} is needed: pip install -e '.[proto]'"
        )
    # The plugins lie beside the interpreter, which need not be on the path.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    made = ROOT / "vramd"
    outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    names = [proto.relative_to(ROOT).as_posix() for proto in PROTOS]
    if protoc.main(["protoc", f"-I{ROOT}", *outputs, *names]):
        sys.exit("protoc failed")
    for path in present():
        path.unlink()
    for path in sorted(made.rglob("*_pb2*.py*")):
        home = PACKAGE / path.relative_to(made)
        home.write_text(_MODULE.sub(r"\1vramd_proto.", path.read_text("utf-8")), "utf-8", newline="\n")
        path.unlink()
    DIGEST.write_text(facts(), "utf-8", newline="\n")
    typed_settings.FILE.write_text(typed_settings.text(), "utf-8", newline="\n")


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        generate()
    if wrong := problem():
        sys.exit(f"the generated code is out of date ({wrong}); run: python proto/generate.py")
