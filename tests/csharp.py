"""Builds, tests and packs clients/csharp where there is an SDK of .NET; elsewhere a line says that it is left out.

The program of clients/csharp/test/Vramd.Aot runs twice, as compiled by the runtime and ahead of time, and has to print
the same. The build, the packages, the sample that the README shows and that program count as a test each. So do, of the
Unity package, the list of its libraries and its way to start a process, compiled ahead of time. The launcher's tests of
a host's end run once more with that as the host, and with Mono where it is there. The last lines name what failed, and
the very last is `csharp: N passed, N failed, N skipped`. No build server is left running.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "clients/csharp"
CONFIGURATION = "Release"
COUNTS = re.compile(r"^ +(failed|succeeded|skipped): (\d+)$", re.MULTILINE)
FAILED = re.compile(r"^failed (?!with)(.+) \([^()]*\)$", re.MULTILINE)
PROGRAM = "test/Vramd.Aot"
SAMPLE = "samples/Hello"
UNITY = "../unity/check"
HOST_TESTS = "Vramd.Tests.Launching.HostEndTests"
DEATHS = f"{HOST_TESTS}.A_host_that_dies_takes_its_supervisor_along"
"""Of these, what a host can do that has neither HTTP/2 for calls nor a say in Ctrl-C, which is Mono."""
SUFFIX = ".exe" if sys.platform == "win32" else ""
ENVIRONMENT = {
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_CLI_UI_LANGUAGE": "en",  # its summary is read
    "DOTNET_NOLOGO": "1",
    "DOTNET_SKIP_FIRST_TIME_EXPERIENCE": "1",
    "MSBUILDDISABLENODEREUSE": "1",
    "NO_COLOR": "1",
    "TESTINGPLATFORM_TELEMETRY_OPTOUT": "1",
    "UseSharedCompilation": "false",
    "VRAMD_TEST_COMMAND": str(Path(sys.executable).with_name(f"vramd{SUFFIX}")),
}


@dataclass(frozen=True)
class Ended:
    """A command that has ended, and what it printed on both outputs."""

    code: int
    printed: str


@dataclass
class Tally:
    """What has passed, failed and been skipped so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    names: list[str] = field(default_factory=list)
    """Of what has failed."""

    def one(self, name: str, passed: bool) -> bool:
        """Counts one thing, and returns whether it passed."""
        self.passed += passed
        if not passed:
            self._failed(1, name)
        return passed

    def suite(self, ended: Ended) -> None:
        """Counts what the summary of a test run says; a run that failed without a failed test counts as one."""
        counts = {word: int(number) for word, number in COUNTS.findall(ended.printed)}
        self.passed += counts.get("succeeded", 0)
        self.skipped += counts.get("skipped", 0)
        if failed := counts.get("failed", 0) or bool(ended.code or not counts):
            self._failed(failed, *(FAILED.findall(ended.printed) or ["a test run, before its summary"]))

    def __str__(self) -> str:
        names = "".join(f"csharp: failed: {name}\n" for name in self.names)
        return f"{names}csharp: {self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def _failed(self, count: int, *names: str) -> None:
        self.failed += count
        self.names += names


def left_out() -> str:
    """Why nothing is run here; empty if there is something to run."""
    if shutil.which("dotnet") is None:
        return "no .NET SDK here"
    # A runtime alone has the command too.
    found = subprocess.run(["dotnet", "--list-sdks"], capture_output=True, text=True, check=False)
    return "" if found.stdout.strip() else "no .NET SDK here"


def run(*command: str | Path, **variables: str) -> Ended:
    """Runs a command in clients/csharp and prints what it prints, as it comes."""
    print(f"-- csharp: {' '.join(map(str, command))}", flush=True)
    environment = os.environ | ENVIRONMENT | variables
    printed = []
    with subprocess.Popen(
        command, cwd=FOLDER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return Ended(process.returncode, "".join(printed))


def dotnet(verb: str, *arguments: str | Path) -> Ended:
    return run("dotnet", verb, *arguments, "-c", CONFIGURATION)


def version() -> str:
    """That of pyproject.toml, which the packages have too."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    assert found
    return found[1]


def packages(folder: Path) -> Sequence[str]:
    """The packages that should be in a folder and are not: one for each project of src."""
    wanted = [f"{project.stem}.{version()}.nupkg" for project in FOLDER.glob("src/*/*.csproj")]
    return [name for name in wanted if not (folder / name).exists()]


def same_ahead_of_time(folder: Path) -> bool:
    """Compiles the program of Vramd.Aot into a folder, ahead of time, and compares its output to that of the build."""
    if dotnet("publish", PROGRAM, "-o", folder, "-warnaserror", "-nodeReuse:false").code:
        return False
    name = f"Vramd.Aot{SUFFIX}"
    jit = run(FOLDER / PROGRAM / "bin" / CONFIGURATION / "net10.0" / name)
    aot = run(folder / name)
    if jit.printed != aot.printed:
        print("-- csharp: the program prints something else when it is compiled ahead of time")
    return jit == aot and not aot.code


def sample_answers() -> bool:
    """Runs the sample that the README shows, on the demo's models."""
    program = FOLDER / SAMPLE / "bin" / CONFIGURATION / "net10.0" / f"Hello{SUFFIX}"
    ended = run(program, ROOT / "clients/python/vramd_cli/demo_models", VRAMD_COMMAND=ENVIRONMENT["VRAMD_TEST_COMMAND"])
    return not ended.code and bool(ended.printed.strip())


def host_tests(host: Path, *filters: str) -> Ended:
    """The launcher's tests that end a host in every way, with another program as the host; once each."""
    project = ("--project", "test/Vramd.Tests", "--no-build", "-c", CONFIGURATION)
    return run("dotnet", "test", *project, *filters, VRAMD_TEST_HOST=str(host), VRAMD_TEST_LIVES="1")


def no_mono() -> str:
    """Why nothing runs by Mono here; empty if something can."""
    facades = Path(os.environ.get("MONO_PATH", "/usr/lib/mono/4.5/Facades"))
    there = shutil.which("mono") and (facades / "netstandard.dll").exists()
    return "" if there else "no Mono with netstandard2.1 here (Debian: mono-devel)"


def unity(tally: Tally, folder: Path) -> None:
    """Counts what of the Unity package no test of the solution can say."""
    tally.one(
        "the libraries of the Unity package", not run(sys.executable, ROOT / "clients/unity/pack.py", "--check").code
    )
    published = dotnet("publish", f"{UNITY}/NativeProcess", "-o", folder, "-warnaserror", "-nodeReuse:false")
    host = folder / f"Vramd.Unity.NativeProcess{SUFFIX}"
    if tally.one("processes started ahead of time", not published.code and not run(host).code):
        tally.suite(host_tests(host, "--filter-class", HOST_TESTS))
    if why := no_mono():
        print(f"-- csharp: {why}, left out")
        return
    script = folder / "mono-host"
    library = FOLDER / UNITY / "MonoHost/bin" / CONFIGURATION / "netstandard2.1/Vramd.Unity.MonoHost.dll"
    script.write_text(f'#!/bin/sh\nexec mono "{library}" "$@"\n', "utf-8")
    script.chmod(0o755)
    tally.suite(host_tests(script, "--filter-method", DEATHS))


def main() -> int:
    if why := left_out():
        print(f"-- csharp: {why}, left out")
        return 0
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="vramd-csharp-") as name:
        folder = Path(name)
        if tally.one("the build", not dotnet("build", "-warnaserror", "-nodeReuse:false", "-v", "q").code):
            tally.suite(dotnet("test", "--no-build", "--results-directory", folder / "results"))
            packed = dotnet("pack", "--no-build", "-nodeReuse:false", "-v", "q", "-o", folder / "packages")
            missing = packages(folder / "packages")
            if missing:
                print(f"-- csharp: not packed: {', '.join(missing)}")
            tally.one("the packages", not packed.code and not missing)
            tally.one("the sample", sample_answers())
            tally.one("the same ahead of time", same_ahead_of_time(folder / "aot"))
            unity(tally, folder / "unity")
    print(tally)
    return int(tally.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
