"""A wheel in a virtual environment, an editable install, the user site: supervisor and worker are found in each."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.gguf_models import random_llama
from support.installation import (
    BOUND_S,
    ROOT,
    Installation,
    clean_environment,
    dependencies,
    in_user_site,
    in_venv,
    metadata,
    wheel,
)
from support.supervisor_process import CARD, simulated

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users there do not have")

PACKAGES = ("vramd", "vramd_bench", "vramd_cli", "vramd_common", "vramd_proto", "vramd_supervisor", "vramd_worker")
WHERE = f"import json, {', '.join(PACKAGES)}; print(json.dumps([p.__path__[0] for p in ({', '.join(PACKAGES)})]))"
CONFIGURATION = CARD + simulated("talker")
NEEDS_SERVER = "pip install 'vramd[server]'"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def lent(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """What the extra `server` asks for, and nothing of the extra `llama`."""
    return dependencies(tmp_path_factory.mktemp("server") / "lent", built, "server")


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory, built: Path, lent: Path) -> Installation:
    return in_venv(tmp_path_factory.mktemp("installed") / "venv", [str(built)], lent)


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory, lent: Path) -> Installation:
    return in_venv(tmp_path_factory.mktemp("editable") / "venv", ["--editable", str(ROOT)], lent)


@pytest.fixture(scope="session")
def user_site(tmp_path_factory: pytest.TempPathFactory, built: Path, lent: Path) -> Installation:
    return in_user_site(tmp_path_factory.mktemp("user") / "base", built, lent)


@pytest.fixture(scope="session")
def client_only(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Installation:
    """Without any extra."""
    base = dependencies(tmp_path_factory.mktemp("base") / "lent", built)
    return in_venv(tmp_path_factory.mktemp("client") / "venv", [str(built)], base)


@pytest.fixture(params=["venv", "editable", "user_site"])
def installation(request: pytest.FixtureRequest) -> Installation:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Installation)
    return found


@contextmanager
def serving(
    installation: Installation, folder: Path, configuration: str = CONFIGURATION, cwd: Path | None = None
) -> Iterator[Path]:
    """The runtime folder of a `vramd serve` of that installation; it ends with the block, in order."""
    file, runtime, printed = folder / "vramd.toml", folder / "run", folder / "printed"
    file.write_text(configuration, "utf-8")
    with printed.open("wb") as errors:
        process = subprocess.Popen(
            [installation.script, "serve", "--config", file, "--port", "0", "--runtime-dir", runtime],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd or folder,
            env=clean_environment(**installation.environment),
        )
    assert process.stdout is not None
    with process, process.stdout as output:
        try:
            ready, _, _ = select.select([output], [], [], BOUND_S)
            said = output.readline() if ready else b""
            assert b"listens on" in said, printed.read_text("utf-8", "replace")
            yield runtime
            process.terminate()
            assert process.wait(BOUND_S) == 0
        finally:
            process.kill()


def test_the_wheel_has_the_packages_and_nothing_else(built: Path) -> None:
    with ZipFile(built) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    protos = {"inference", "load", "model", "supervisor"}
    assert {name for name in names if name.endswith(".proto")} == {f"vramd/v1/{proto}.proto" for proto in protos}
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert not [name for name in names if "test" in name or "generate" in name or "__pycache__" in name]


def test_the_wheel_names_its_extras(built: Path) -> None:
    with ZipFile(built) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert archive.read(name).decode().split() == ["[console_scripts]", "vramd", "=", "vramd_cli.console:main"]
    wanted = " ".join(metadata(built))
    for extra in ("server", "llama", "all", "dev", "proto"):
        assert f"extra == '{extra}'" in wanted


def test_the_packages_come_from_where_they_were_installed(installation: Installation, tmp_path: Path) -> None:
    done = installation.run(installation.python, "-c", WHERE, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    home = ROOT if list(installation.packages.glob("*vramd.pth")) else installation.packages
    assert all(Path(path).is_relative_to(home.resolve()) for path in json.loads(done.stdout)), done.stdout


def test_a_model_answers(installation: Installation, tmp_path: Path) -> None:
    """So its worker, which is isolated from the user's Python, has found its packages too."""
    with serving(installation, tmp_path) as runtime:
        asked = ("run", "talker", "Hello", "--max-tokens", "3", "--json", "--runtime-dir", runtime)
        done = installation.run(installation.script, *asked, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(json.loads(done.stdout)["token_ids"]) == 3


def test_a_supervisor_is_started_on_demand(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "vramd.toml").write_text(CONFIGURATION, "utf-8")
    place = {
        "VRAMD_RUNTIME_DIR": str(tmp_path / "run"),
        "VRAMD_CONFIG": str(tmp_path / "vramd.toml"),
        "VRAMD_PORT": "0",
    }
    try:
        done = installation.run(
            installation.script, "run", "talker", "Hello", "--start", cwd=tmp_path, environment=place
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()
    finally:
        ended = installation.run(installation.script, "shutdown", "--force", cwd=tmp_path, environment=place)
    assert ended.returncode == 0, ended.stderr


def test_a_folder_grpc_in_the_current_folder_shadows_nothing(venv: Installation, tmp_path: Path) -> None:
    strange = tmp_path / "project"
    for name in ("grpc", "vramd_proto", "click", "asyncio"):
        (strange / name).mkdir(parents=True)
        (strange / name / "__init__.py").write_text("raise SystemExit('shadowed')", "utf-8")
    with serving(venv, tmp_path, cwd=strange) as runtime:
        for command in ([venv.script], [venv.python, "-m", "vramd"]):
            asked = (*command, "run", "talker", "Hello", "--max-tokens", "3", "--runtime-dir", runtime)
            done = venv.run(*asked, cwd=strange)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.strip()


def test_a_client_needs_no_extra(client_only: Installation, venv: Installation, tmp_path: Path) -> None:
    program = "import sys, vramd\nwith vramd.Client(sys.argv[1]) as c: print(c.chat('talker', 'Hi', max_tokens=3).text)"
    with serving(venv, tmp_path) as runtime:
        done = client_only.run(client_only.python, "-W", "error", "-c", program, runtime, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("command", ["ps", "run", "serve", "shutdown", "--help"])
def test_a_command_names_the_extra_that_it_needs(client_only: Installation, tmp_path: Path, command: str) -> None:
    done = client_only.run(client_only.script, command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert NEEDS_SERVER in done.stderr
    assert "Traceback" not in done.stderr


def test_without_llama_a_model_says_what_to_install(venv: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    random_llama(folder / "real.gguf")
    configuration = f"[server]\nmodels = [{json.dumps(str(folder))}]\n{CONFIGURATION}"
    with serving(venv, tmp_path, configuration) as runtime:
        refused = venv.run(venv.script, "run", "real", "Hello", "--runtime-dir", runtime, cwd=tmp_path)
        assert refused.returncode == 1
        assert "ENGINE_MISSING" in refused.stderr
        assert "pip install 'vramd[llama]'" in refused.stderr
        answered = venv.run(venv.script, "run", "talker", "Hello", "--runtime-dir", runtime, cwd=tmp_path)
        assert (answered.returncode, answered.stderr) == (0, "")
