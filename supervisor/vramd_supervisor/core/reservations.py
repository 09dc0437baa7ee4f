"""What callers bring about that announce memory for other programs. Pure; records facts, the scheduler concludes."""

from vramd_common.reasons import Reason

from ..domain.errors import Refusal, in_words, refusal, shutting_down
from .actions import CancelDeadline, Refuse, SetTimer
from .events import DeadlinePassed, ReservationExpired, ReservationReleased, ReservationRequested
from .state import Reservation
from .world import CoreState


def requested(state: CoreState, event: ReservationRequested) -> None:
    """Puts a reservation into the line of those who wait for room, or refuses it at once."""
    if state.ending:
        state.emit(Refuse(event.request, shutting_down()))
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


def ended(state: CoreState, event: ReservationReleased | ReservationExpired) -> None:
    """A reservation is given back, or has stood for its time; one that has ended already is no longer known."""
    if reservation := state.reservations.get(event.reservation):
        cause = "has had its time" if isinstance(event, ReservationExpired) else "was released"
        state.end_reservation(reservation, cause)


def caller_left(state: CoreState, request: int) -> None:
    """Nobody learns the id of a reservation whose caller has left: it ends, waiting or standing."""
    leave_line(state, request)
    for reservation in list(state.reservations.values()):
        if reservation.request == request:
            state.end_reservation(reservation, "was released: its caller left before the answer")


def deadline_passed(state: CoreState, request: int) -> None:
    """Refuses a reservation for which there was no room in time."""
    if reservation := state.pending_reservations.get(request):
        size, device, limit_s = in_words(reservation.size_bytes), reservation.device, f"{reservation.limit_s:g}"
        text = f"{reservation.name} waited for {size} on {device}; its {limit_s} s are over"
        refuse(state, reservation, refusal(Reason.DEADLINE_PASSED, text, limitS=limit_s))


def refuse(state: CoreState, reservation: Reservation, why: Refusal) -> None:
    """Ends a reservation that waits, with an error."""
    leave_line(state, reservation.request)
    state.record_refusal(reservation.name, why)
    state.emit(Refuse(reservation.request, why))


def leave_line(state: CoreState, request: int) -> None:
    """Takes a reservation out of the line, if it is in there."""
    if reservation := state.pending_reservations.pop(request, None):
        state.admission_queue.remove(reservation)
        state.emit(CancelDeadline(request))


def shutdown_requested(state: CoreState) -> None:
    """The supervisor ends, and so does every reservation."""
    for waits in list(state.pending_reservations.values()):
        refuse(state, waits, shutting_down())
    for stands in list(state.reservations.values()):
        state.end_reservation(stands, "ends with the supervisor")
