"""A reservation's life: bytes that a caller has kept free for another program. Pure.

`admission` decides when there is room for one.
"""

from vramd_common.reasons import Reason

from ..domain.errors import Refusal, in_words, refusal, shutting_down
from . import requests
from .actions import CancelDeadline, CancelExpiry, GrantReservation, Refuse, SetTimer
from .core_state import CoreState, Handlers
from .events import Cancelled, DeadlinePassed, ReservationExpired, ReservationReleased, ReservationRequested
from .state import Reservation


def requested(state: CoreState, event: ReservationRequested) -> None:
    """Lets a reservation wait for room, or refuses it at once."""
    if why := requests.not_admitted(state, new_work=True):
        state.emit(Refuse(event.request, why))
        return
    reservation = Reservation(
        id=state.next_id(),
        request=event.request,
        device=event.device,
        size_bytes=event.size_bytes,
        ttl_s=event.ttl_s,
        label=event.label,
        limit_s=event.limit_s,
        since_s=event.at_s,
        turn=state.next_turn(),
    )
    state.pending_reservations[event.request] = reservation
    state.admission_queue.add(reservation, {event.device})
    state.emit(SetTimer(DeadlinePassed(event.at_s + event.limit_s, event.request)))


def grant(state: CoreState, reservation: Reservation) -> None:
    """Promises the bytes, for which there is room; the time of the reservation begins."""
    _leave_queue(state, reservation.request)
    reservation.until_s = state.now_s + reservation.ttl_s
    state.ledger.reserve(reservation.id, {reservation.device: reservation.size_bytes})
    state.reservations[reservation.id] = reservation
    state.ledger_changed(f"{reservation.name} stands for {reservation.ttl_s:g} s")
    state.emit(SetTimer(ReservationExpired(reservation.until_s, reservation.id)))
    state.emit(GrantReservation(reservation.request, reservation.id))


def refuse(state: CoreState, reservation: Reservation, why: Refusal) -> None:
    """Ends a reservation that waits, with an error."""
    _leave_queue(state, reservation.request)
    state.record_refusal(reservation.name, why)
    state.emit(Refuse(reservation.request, why))


def ended(state: CoreState, event: ReservationReleased | ReservationExpired) -> None:
    """A reservation is given back, or has had its time; one that has ended already is no longer known."""
    if reservation := state.reservations.get(event.reservation):
        _end(state, reservation, "has had its time" if isinstance(event, ReservationExpired) else "was released")


def cancelled(state: CoreState, event: Cancelled) -> None:
    """A caller has left: its request ends, or its reservation, whose id it has not learnt."""
    requests.ended(state, event)
    _leave_queue(state, event.request)
    for reservation in [one for one in state.reservations.values() if one.request == event.request]:
        _end(state, reservation, "was released: its caller left before the answer")


def deadline_passed(state: CoreState, event: DeadlinePassed) -> None:
    """Ends a request, or refuses a reservation for which there was no room in time."""
    requests.deadline_passed(state, event)
    if reservation := state.pending_reservations.get(event.request):
        size, device, limit_s = in_words(reservation.size_bytes), reservation.device, f"{reservation.limit_s:g}"
        text = f"{reservation.name} waited for {size} on {device}; its {limit_s} s are over"
        refuse(state, reservation, refusal(Reason.DEADLINE_PASSED, text, limitS=limit_s))


def end_all(state: CoreState) -> None:
    """The supervisor ends, and so does every reservation."""
    for pending in list(state.pending_reservations.values()):
        refuse(state, pending, shutting_down())
    for reservation in list(state.reservations.values()):
        _end(state, reservation, "ends with the supervisor")


HANDLERS: Handlers = {
    ReservationRequested: requested,
    ReservationReleased: ended,
    ReservationExpired: ended,
    Cancelled: cancelled,
    DeadlinePassed: deadline_passed,
}


def _leave_queue(state: CoreState, request: int) -> None:
    if reservation := state.pending_reservations.pop(request, None):
        state.admission_queue.remove(reservation)
        state.emit(CancelDeadline(request))


def _end(state: CoreState, reservation: Reservation, cause: str) -> None:
    del state.reservations[reservation.id]
    state.ledger.release(reservation.id)
    state.emit(CancelExpiry(reservation.id))
    state.ledger_changed(f"{reservation.name} {cause}")
