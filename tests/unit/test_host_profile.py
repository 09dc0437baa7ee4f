"""Defaults by the size of a machine."""

import pytest
from vramd_supervisor.domain.host_profile import Profile, Strategy, default_threads, nominal_gb

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("physical", "usable", "threads"),
    [
        (1, 1, 1),
        (2, 2, 1),
        (2, 4, 1),
        (3, 6, 1),
        (4, 8, 2),
        (8, 16, 6),
        (14, 28, 12),
        (64, 128, 12),
        (16, 4, 4),
        (16, 1, 1),
        (None, 8, 6),
        (None, 2, 1),
        (None, 64, 12),
    ],
)
def test_threads_leave_two_cores_and_stay_within_what_may_be_used(
    physical: int | None, usable: int, threads: int
) -> None:
    assert default_threads(physical, usable) == threads


@pytest.mark.parametrize(
    ("total_bytes", "strategy"),
    [
        (4 * GIB, Strategy.LIGHT),
        (8 * 10**9 - 1, Strategy.LIGHT),
        (7_885 * MIB, Strategy.MEDIUM),  # what a machine with 8 GiB shows
        (16 * 10**9 - 1, Strategy.MEDIUM),
        (15_850 * MIB, Strategy.HEAVY),  # and one with 16
        (64 * GIB, Strategy.HEAVY),
    ],
)
def test_a_machine_is_judged_by_the_ram_it_is_sold_with(total_bytes: int, strategy: Strategy) -> None:
    assert Strategy.of_ram(total_bytes) is strategy


@pytest.mark.parametrize(
    ("shown_mib", "size_gb"),
    [
        (0, 0),
        (512, 0),
        (2002, 2),
        (3019, 3),
        (3911, 4),
        (4096, 4),
        (5059, 5),
        (5325, 5),  # 5.2 GiB are no card of 6 GB
        (5926, 6),
        (6141, 6),
        (6144, 6),
        (8188, 8),
        (10240, 10),
        (12282, 12),
        (15109, 16),
        (16376, 16),
        (24564, 24),
        (23028, 24),
        (81559, 80),
        (143771, 141),
    ],
)
def test_the_size_that_a_card_is_sold_by(shown_mib: int, size_gb: int) -> None:
    assert nominal_gb(shown_mib * MIB) == size_gb


@pytest.mark.parametrize(
    ("shown_mib", "profile"),
    [
        (2002, Profile.LOW_MEMORY),
        (3019, Profile.LOW_MEMORY),
        (3911, Profile.BALANCED),
        (5059, Profile.BALANCED),
        (5926, Profile.PERFORMANCE),
        (6141, Profile.PERFORMANCE),
        (24564, Profile.PERFORMANCE),
    ],
)
def test_a_card_is_used_by_its_size(shown_mib: int, profile: Profile) -> None:
    assert Profile.of_card(shown_mib * MIB) is profile


def test_what_the_profiles_say() -> None:
    said = {profile.label: (profile.gpu_layers, profile.batch_tokens) for profile in Profile}
    assert said == {"low_memory": (20, 256), "balanced": (32, 512), "performance": (-1, 512)}
