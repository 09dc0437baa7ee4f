"""`reserve`, `release`: memory that another program is about to take."""

from collections.abc import Sequence
from typing import Any

import click
from vramd import Client, StandingReservation

from .. import output
from ..connection import with_client
from ..parameters import Duration
from ..settings import json_flag, timeout_flag


@click.command("reserve", short_help="Make room for another program's memory.")
@click.argument("size")
@click.option("--device", default="host", show_default=True, help="Id of the device.")
@click.option(
    "--for",
    "ttl_s",
    metavar="TIME",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long it lasts: 90s, 10m, 2h.",
)
@click.option("--label", default="", help="Who it is for, in messages.")
@timeout_flag
@json_flag
@with_client
def reserve(
    client: Client, size: str, device: str, ttl_s: float, label: str, timeout_s: float | None, as_json: bool
) -> None:
    """Makes SIZE (1.5GiB, 600MB) free by evicting idle models, and keeps it free; prints the id of the reservation.

    Returns when the room is made; models that are busy are waited for.
    """
    reservation = client.reserve(size, device=device, ttl_s=ttl_s, label=label, timeout_s=timeout_s)
    output.result(reservation, as_json, lambda made: output.say(str(made.id)))


@click.command("reservations", short_help="List the reservations that stand.")
@json_flag
@with_client
def reservations(client: Client, as_json: bool) -> None:
    """The reservations that stand, whoever made them; `release ID` ends one."""
    output.result(client.reservations(), as_json, show_reservations)


def show_reservations(standing: Sequence[StandingReservation]) -> None:
    """Prints a row for each reservation."""
    rows = [
        (
            str(one.id),
            one.device,
            output.size(one.size_bytes),
            output.size(one.taken_bytes),
            output.duration(one.left_s),
            one.label or "-",
        )
        for one in standing
    ]
    output.table(("RESERVATION>", "DEVICE", "SIZE>", "TAKEN>", "ENDS IN>", "LABEL"), rows, "no reservation stands")


class ReservationId(click.ParamType):  # type: ignore[type-arg]
    """The id of a reservation, a positive number."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**64:
            self.fail(f"{value!r} is no number of a reservation; `vramd reservations` lists them", param, ctx)
        return int(text)


@click.command("release", short_help="End a reservation.")
@click.argument("reservation", metavar="ID", type=ReservationId())
@with_client
def release(client: Client, reservation: int) -> None:
    """Ends the reservation ID; `reservations` lists them. It is no failure if it has ended already."""
    released = client.release(reservation)
    output.say(f"reservation {reservation} {'is released' if released else 'had ended already'}")
