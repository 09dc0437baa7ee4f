"""A supervisor is found by its folder or its address, and its token goes to nobody else."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from vramd import InvalidRequest, SupervisorNotFound, TokenRefused, finding
from vramd.channel import metadata
from vramd.finding import Search, TlsFiles, find
from vramd_cli.main import vramd
from vramd_common.rendezvous import Address, RuntimeDir
from vramd_supervisor.offline import doctor


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VRAMD_ADDRESS", "VRAMD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(tmp_path / "default"))


def running(folder: Path, address: str = "127.0.0.1:1234", token: str = "secret") -> Path:
    folder.mkdir()
    Address(address, 1, "0.1.0").write(RuntimeDir(folder).address_file)
    RuntimeDir(folder).token_file.write_text(token + "\n")
    return folder


def test_by_the_folder_given(tmp_path: Path) -> None:
    place = find(running(tmp_path / "run dir %#é"))
    assert (place.address, place.token) == ("127.0.0.1:1234", "secret")
    assert metadata(place) == (("authorization", "Bearer secret"),)


def test_by_the_folder_of_the_environment(tmp_path: Path) -> None:
    running(tmp_path / "default")
    assert find().token == "secret"


def test_the_folder_given_is_stronger_than_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VRAMD_ADDRESS", "10.0.0.1:1")
    monkeypatch.setenv("VRAMD_TOKEN", "of another")
    place = find(running(tmp_path / "run"))
    assert (place.address, place.token) == ("127.0.0.1:1234", "secret")


def test_none_runs_and_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(SupervisorNotFound, match=r"vramd serve --models DIR$"):
        find()
    with pytest.raises(SupervisorNotFound, match="--runtime-dir") as caught:
        find(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.fixture
def of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder below /tmp that stands in for a missing XDG_RUNTIME_DIR is not the user's own."""

    def refuse() -> Path:
        raise PermissionError("runtime directory /tmp/runtime-1 is owned by uid 2, not 1")

    for user in (finding, doctor):
        monkeypatch.setattr(user, "default_runtime_dir", refuse)


@pytest.mark.usefixtures("of_somebody_else")
def test_a_runtime_folder_of_somebody_else_is_none_in_a_sentence() -> None:
    with pytest.raises(SupervisorNotFound, match="VRAMD_RUNTIME_DIR may name another"):
        find()
    assert find(address="example:1", token="given").address == "example:1"
    for arguments in (["ps"], ["run", "m", "Hi", "--start", "--models", "/"]):
        done = CliRunner().invoke(vramd, arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("vramd: there is no runtime folder: ")
    assert doctor._own_runtime_dir() is None


def test_a_folder_that_is_relative_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    search = Search("run")
    monkeypatch.chdir("/")
    assert search.look().token == "secret"


def test_a_damaged_address_file_is_none(tmp_path: Path) -> None:
    folder = running(tmp_path / "run")
    RuntimeDir(folder).address_file.write_text("{")
    with pytest.raises(SupervisorNotFound):
        find(folder)


def test_by_address_with_a_token_from_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(" of the file\r\n")
    monkeypatch.setenv("VRAMD_TOKEN", "of the environment")
    assert find(address="example:1", token="given", token_file=file).token == "given"
    assert find(address="example:1", token_file=file).token == "of the file"
    assert find(address="example:1").token == "of the environment"
    monkeypatch.setenv("VRAMD_ADDRESS", "example:2")
    assert find().address == "example:2"


def test_the_token_of_a_folder_goes_to_its_own_address_only(tmp_path: Path) -> None:
    running(tmp_path / "default")
    place = find(address="127.0.0.1:1234")
    assert place.token == "secret"
    assert "secret" not in repr(place)
    stranger = find(address="example:1234")
    assert stranger.token == ""
    assert stranger.address_file is None
    assert metadata(stranger) == ()


def test_a_token_of_the_environment_is_stronger_than_that_of_the_default_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = running(tmp_path / "default")
    monkeypatch.setenv("VRAMD_TOKEN", "for use only")
    assert find().token == "for use only"
    assert find(address="127.0.0.1:1234").token == "for use only"
    assert find(folder).token == "secret"


def test_a_certificate_of_the_client_never_goes_with_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TlsFiles(client_cert=tmp_path / "cert.pem", client_key=tmp_path / "key.pem")
    for place in (Search(address="example:1", tls=own), Search(running(tmp_path / "run"), tls=own)):
        with pytest.raises(InvalidRequest, match="needs `ca`"):
            place.look()
    monkeypatch.setenv("VRAMD_CLIENT_CERT", "for.pem")
    monkeypatch.setenv("VRAMD_CLIENT_KEY", "another.pem")
    assert find(tmp_path / "run").tls is None


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":5", "host:http", ""])
def test_an_address_needs_a_port(address: str) -> None:
    with pytest.raises(InvalidRequest, match="HOST:PORT"):
        find(address=address)


@pytest.mark.parametrize(
    ("listens", "reached"), [("0.0.0.0:5", "127.0.0.1:5"), ("[::]:5", "[::1]:5"), ("[::1]:5", "[::1]:5")]
)
def test_a_supervisor_on_all_interfaces_is_reached_by_the_loopback_one(listens: str, reached: str) -> None:
    assert find(address=listens).address == reached


def test_a_token_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "lines").write_text("one\ntwo")
    for name in ("binary", "lines", "absent"):
        with pytest.raises(TokenRefused, match="token"):
            find(address="example:1", token_file=tmp_path / name)
