"""How scarce a device's memory is: thresholds, hysteresis, what others took of late. Pure values, a made-up clock."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import vramd
from support.command_line import Shell
from support.fake_supervisor import FakeSupervisor
from vramd.reading import read
from vramd_proto.v1 import supervisor_pb2
from vramd_supervisor.core.actions import PressureChanged
from vramd_supervisor.core.pressure import Lately, Level, Pressure, Reading, explain
from vramd_supervisor.services import enums, messages
from vramd_supervisor.services.event_log import Published
from vramd_supervisor.settings.settings_file import ConfigError, Flags, load_config

MIB = 1 << 20
TOTAL = 8000 * MIB
HEADROOM = 400 * MIB
"""The alarm is at 800 MiB free, EVICT below 200, CRITICAL below 100; it reopens above 600."""

NONE, WARN, CLOSED, EVICT, CRITICAL = Level
Crossing = tuple[int, Level, Level]


def reading(at_s: float, free_mib: int, returning_mib: int = 0, spilled_mib: int = 0) -> Reading:
    return Reading(at_s, TOTAL, TOTAL - free_mib * MIB, HEADROOM, 0.9, returning_mib * MIB, spilled_mib * MIB)


def crossings(free_mib: Iterable[int]) -> list[Crossing]:
    """One sample per second."""
    pressure, found = Pressure(), []
    for second, free in enumerate(free_mib):
        before, pressure = pressure.level, pressure.after(reading(second, free))
        if pressure.level is not before:
            found.append((second, before, pressure.level))
    return found


def test_a_saw_tooth_of_a_thousand_samples_gives_exactly_one_event_for_each_crossing() -> None:
    """Ten teeth of 100 s: a game takes 25 MiB more each second until nothing is left, then lets go of it all, slowly.

    It falls from 1250 MiB free: 800 (the alarm) at second 18, below 400 at 35, below 200 at 43, which counts at 44,
    below 100 at 47. It rises from 0 at second 50: above 600 at 75, held until 85; by then 875 MiB are free, so the
    alarm stands until there are more than 1200 (85 %), at 99. One sample at 1225 is all that stays below the alarm.
    """
    tooth = [1250 - 25 * second for second in range(50)] + [25 * second for second in range(50)]
    samples = tooth * 10
    assert len(samples) == 1000
    expected = [
        crossing
        for start in range(0, 1000, 100)
        for crossing in (
            (start + 18, NONE, WARN),
            (start + 35, WARN, CLOSED),
            (start + 44, CLOSED, EVICT),
            (start + 47, EVICT, CRITICAL),
            (start + 85, CRITICAL, WARN),
            (start + 99, WARN, NONE),
        )
    ]
    assert crossings(samples) == expected


def test_a_saw_tooth_inside_the_hysteresis_gives_no_event_but_the_first() -> None:
    assert crossings(itertools.islice(itertools.cycle([799, 1200]), 1000)) == [(0, NONE, WARN)]
    assert crossings([*itertools.islice(itertools.cycle([399, 600]), 1000)]) == [(0, NONE, CLOSED)]
    nine_seconds = itertools.cycle([300] + [2000] * 10)
    assert crossings(itertools.islice(nine_seconds, 1000)) == [(0, NONE, CLOSED)]


@pytest.mark.parametrize(
    ("free", "level"),
    [(801, NONE), (800, WARN), (400, WARN), (399, CLOSED), (200, CLOSED), (199, CLOSED), (100, CLOSED), (99, CRITICAL)],
)
def test_the_thresholds_of_one_sample(free: int, level: Level) -> None:
    assert Pressure().after(reading(0, free)).level is level


def test_one_low_sample_is_a_peak_and_two_in_a_row_are_not() -> None:
    assert crossings([199, 200, 199, 200, 199]) == [(0, NONE, CLOSED)]
    assert crossings([199, 199]) == [(0, NONE, CLOSED), (1, CLOSED, EVICT)]


def test_a_closed_device_reopens_after_ten_seconds_of_half_a_headroom_more() -> None:
    for until in (600, 399):
        assert crossings([300, *[601] * 9, until, *[601] * 10])[1:] == []
    assert crossings([300, *[601] * 9, until, *[601] * 11])[1:] == [(21, CLOSED, WARN)]
    assert crossings([300, *[601] * 10, 600])[1:] == [], "it is not free any more when the time is over"
    assert crossings([50, *[601] * 11]) == [(0, NONE, CRITICAL), (11, CRITICAL, WARN)]
    assert crossings([300, *[5000] * 11]) == [(0, NONE, CLOSED), (11, CLOSED, NONE)]


def test_a_device_where_others_have_settled_reopens_after_a_minute() -> None:
    settled = [*itertools.islice(itertools.cycle([400, 600]), 60)]
    assert crossings([399, *settled, 399, *settled])[1:] == []
    assert crossings([399, *settled, 399, *settled, *settled])[1:] == [(122, CLOSED, WARN)]


def test_the_alarm_ends_five_points_below_where_it_began() -> None:
    assert crossings([800, 1200, 1201, 801]) == [(0, NONE, WARN), (2, WARN, NONE)]


def test_a_large_device_is_critical_at_128_mib() -> None:
    large = Reading(0, 80_000 * MIB, 80_000 * MIB - 128 * MIB, 2400 * MIB, 0.9)
    assert not large.critical
    assert Reading(0, 80_000 * MIB, 80_000 * MIB - 127 * MIB, 2400 * MIB, 0.9).critical


def test_bytes_that_the_driver_moved_to_the_host_are_critical_however_much_is_free() -> None:
    assert Pressure().after(reading(0, 5000, spilled_mib=64)).level is NONE
    spilled = reading(0, 5000, spilled_mib=65)
    pressure = Pressure().after(spilled)
    assert pressure.level is CRITICAL
    assert pressure.deficit_bytes(spilled) == 65 * MIB
    assert "moved 65.0 MiB of ours" in explain(CRITICAL, spilled)
    for second in range(1, 30):
        pressure = pressure.after(reading(second, 5000, spilled_mib=65))
    assert pressure.level is CRITICAL


def test_without_headroom_there_is_the_alarm_and_what_is_not_there() -> None:
    def level(used: int) -> Level:
        return Pressure().after(Reading(0, 100, used, 0, 0.9)).level

    assert [level(used) for used in (89, 90, 100, 101)] == [NONE, WARN, WARN, CRITICAL]


def test_what_idle_models_have_to_give_back_restores_the_headroom() -> None:
    low, critical = reading(0, 150), reading(0, 90)
    assert Pressure().after(low).deficit_bytes(low) == 0, "it may be a peak"
    assert Pressure().after(low).after(low).deficit_bytes(low) == 250 * MIB
    assert Pressure().after(critical).deficit_bytes(critical) == 310 * MIB
    closed = reading(0, 399)
    assert Pressure().after(closed).after(closed).deficit_bytes(closed) == 0


def test_what_is_on_its_way_back_is_not_asked_for_twice() -> None:
    returning = reading(0, 150, returning_mib=50)
    pressure = Pressure().after(returning).after(returning).after(returning)
    assert (pressure.level, pressure.deficit_bytes(returning)) == (CLOSED, 0)
    critical = reading(0, 90, returning_mib=300)
    assert Pressure().after(critical).deficit_bytes(critical) == 10 * MIB
    plenty = reading(0, 90, returning_mib=500)
    assert Pressure().after(plenty).deficit_bytes(plenty) == 0


def most(samples: Iterable[tuple[float, int]]) -> Iterator[int]:
    lately = Lately()
    for at_s, size in samples:
        lately.take_in(at_s, size, 0)
        yield lately.most_bytes


def test_the_most_of_the_last_minute_counts_and_the_first_sample_as_it_is() -> None:
    assert Lately().most_bytes == 0
    first = Lately()
    first.take_in(0, 9, 4)
    assert first.most_bytes == 5, "of it, what cannot be ours"
    assert list(most([(0, 5), (1, 9), (30, 3), (60, 2), (61, 2), (89, 2), (90, 1), (149, 1), (150, 0)])) == [
        *(5, 9, 9, 9, 3, 3, 2, 1, 1)
    ]


def test_it_is_the_most_of_a_thousand_samples_whatever_they_are() -> None:
    sizes = [(second * 7919) % 1009 for second in range(1000)]
    assert list(most(enumerate(sizes))) == [max(sizes[max(0, now - 59) : now + 1]) for now in range(1000)]


@pytest.mark.parametrize(
    ("seen", "doubtful", "most_bytes"),
    [(70, 60, 20), (90, 60, 30), (10, 60, 20), (70, 0, 70)],
    ids=["ours may be all that came", "not all of it can be ours", "less than before", "nothing of ours"],
)
def test_what_may_be_of_ours_does_not_linger_as_others(seen: int, doubtful: int, most_bytes: int) -> None:
    lately = Lately()
    lately.take_in(0, 20, 0)
    lately.take_in(1, seen, doubtful)
    assert lately.most_bytes == most_bytes


def test_each_level_is_explained_with_the_numbers() -> None:
    texts = [explain(level, reading(0, 150)) for level in Level]
    assert all(text.startswith("150.0 MiB of 7.81 GiB are free, ") for text in texts)
    assert len(set(texts)) == len(Level)
    assert texts[CLOSED].endswith("less than the headroom of 400.0 MiB: nothing is loaded here")
    assert texts[WARN].endswith("the alarm is at 90 % in use")


def test_the_wire_carries_every_level_and_number() -> None:
    notice = PressureChanged("gpu0", WARN, CRITICAL, 1, 2, 3, "why")
    message = messages.event(Published(7, 1.5, notice))
    assert message.kind == supervisor_pb2.EVENT_KIND_PRESSURE
    assert message.pressure_changed == supervisor_pb2.PressureChanged(
        device="gpu0",
        before=supervisor_pb2.PRESSURE_WARN,
        after=supervisor_pb2.PRESSURE_CRITICAL,
        free_bytes=1,
        external_bytes=2,
        headroom_bytes=3,
        message="why",
    )
    names = {level: supervisor_pb2.Pressure.Name(enums.TABLES[Level][level]) for level in Level}
    assert names == {level: f"PRESSURE_{level.name}" for level in Level}


def configured(folder: Path, text: str) -> tuple[float, float | None]:
    file = folder / "vramd.toml"
    file.write_text(text, "utf-8")
    config = load_config(file, {}, Flags())
    return config.server.alarm, config.devices["host"].alarm


def test_the_alarm_is_configured_for_all_devices_and_for_one(tmp_path: Path) -> None:
    assert configured(tmp_path, "[devices.host]\nbudget = 600") == (0.9, None)
    assert configured(tmp_path, "[server]\nalarm = 0.8\n[devices.host]\nalarm = 1") == (0.8, 1.0)


@pytest.mark.parametrize("text", ["[server]\nalarm = 90", "[devices.host]\nalarm = 0.01"])
def test_an_alarm_that_is_no_share_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"alarm: must be a share of 0\.05 to 1, not"):
        configured(tmp_path, text)


PRESSED = supervisor_pb2.WatchEventsResponse(
    sequence=41,
    kind=supervisor_pb2.EVENT_KIND_PRESSURE,
    pressure_changed=supervisor_pb2.PressureChanged(
        device="gpu0",
        before=supervisor_pb2.PRESSURE_WARN,
        after=supervisor_pb2.PRESSURE_EVICT,
        free_bytes=150 * MIB,
        external_bytes=5 << 30,
        headroom_bytes=400 * MIB,
        message="why",
    ),
)


def test_the_client_has_a_value_for_it() -> None:
    event = read(vramd.Event, PRESSED)
    assert event.kind == "PRESSURE"
    assert event.detail == vramd.PressureChanged("gpu0", "WARN", "EVICT", 150 * MIB, 5 << 30, 400 * MIB, "why")
    assert read(vramd.Device, supervisor_pb2.Device(pressure=supervisor_pb2.PRESSURE_CLOSED)).pressure == "CLOSED"
    assert read(vramd.Device, supervisor_pb2.Device()).pressure == "UNSPECIFIED", "an older supervisor"


def test_the_command_line_tells_it(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("WatchEvents", PRESSED)
    line = shell("events", "--kind", "pressure").stdout.rstrip()
    assert line.startswith("    41  ")
    assert line.endswith("  pressure  gpu0 WARN -> EVICT, 150.0 MiB free, 5.0 GiB of others: why")
    asked = supervisor_pb2.WatchEventsRequest(kinds=[supervisor_pb2.EVENT_KIND_PRESSURE])
    assert fake.requests("WatchEvents") == [asked]
    card = supervisor_pb2.Device(id="gpu0", pressure=supervisor_pb2.PRESSURE_CRITICAL)
    fake.script("ListDevices", supervisor_pb2.ListDevicesResponse(devices=[card]))
    header, row = shell("devices").stdout.splitlines()
    assert (header.split()[-1], row.split()[-1]) == ("PRESSURE", "CRITICAL")
