"""Which steps `tests/check.py` takes, and what each of them says to pytest."""

from check import STATIC, STEPS, TESTS, chosen


def test_all_steps_run_without_an_argument_and_leave_out_what_takes_minutes() -> None:
    steps = chosen([])
    assert list(steps) == list(STEPS)
    assert all(steps[name][-2:] == ("-m", "not long") for name in TESTS)
    assert "-m" not in chosen(["--long"])["process"][2:]


def test_what_depends_on_privileges_runs_without_them_too() -> None:
    assert "unprivileged" in chosen([])
    assert list(chosen(["unprivileged"])) == ["unprivileged"]


def test_the_client_of_dotnet_comes_last_and_takes_no_argument_of_pytest() -> None:
    assert list(chosen([]))[-1] == "csharp"
    assert chosen(["csharp", "--long"])["csharp"] == ("tests/csharp.py",)


def test_fast_is_for_before_each_commit() -> None:
    steps = chosen(["fast"])
    assert list(steps) == ["format", "lint", "types", "unit"]
    assert steps["unit"][-1] == "not long and not slow"
    assert list(chosen(["fast", "wire"])) == ["format", "lint", "types", "unit", "wire"]


def test_steps_are_named_and_what_follows_them_goes_to_pytest() -> None:
    assert list(chosen(["lint", "types-win32"])) == ["lint", "types-win32"]
    assert chosen(["wire", "-k", "unit"])["wire"][-2:] == ("-k", "unit")


def test_arguments_of_pytest_alone_have_it_run_once() -> None:
    steps = chosen(["tests/unit/test_check.py", "--long", "-x"])
    assert list(steps) == [*STATIC, "tests"]
    assert steps["tests"][:3] == ("-m", "pytest", "--hypothesis-profile")
    assert steps["tests"][-2:] == ("tests/unit/test_check.py", "-x")


def test_only_the_long_form_draws_new_examples() -> None:
    assert "random" in chosen(["--long"])["unit"]
    assert "random" not in chosen([])["unit"]
