"""Huge pages: what the kernel's file says, and how the variable asks for them."""

from pathlib import Path

import pytest
from vramd_supervisor.workers.huge_pages import asking, kernel_mode


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("always [madvise] never\n", "madvise"),
        ("[always] madvise never\n", "always"),
        ("always madvise [never]\n", "never"),
        ("always madvise never\n", ""),
        ("", ""),
    ],
)
def test_the_setting_of_the_kernel_is_the_one_in_brackets(tmp_path: Path, text: str, mode: str) -> None:
    (tmp_path / "enabled").write_text(text, "ascii")
    assert kernel_mode(tmp_path) == mode


@pytest.mark.parametrize(("of_size", "mode"), [("always [inherit] madvise never", "madvise"), ("[never]", "never")])
def test_the_setting_of_the_size_goes_first(tmp_path: Path, of_size: str, mode: str) -> None:
    (tmp_path / "enabled").write_text("always [madvise] never\n", "ascii")
    (tmp_path / "hugepages-2048kB").mkdir()
    (tmp_path / "hugepages-2048kB/enabled").write_text(of_size, "ascii")
    assert kernel_mode(tmp_path) == mode


def test_a_system_without_the_file_has_no_setting(tmp_path: Path) -> None:
    assert kernel_mode(tmp_path) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_process_asks_beside_what_its_user_has_set(before: dict[str, str], after: str) -> None:
    assert asking({"PATH": "/bin", **before}) == {"PATH": "/bin", "GLIBC_TUNABLES": after}
