"""What callers bring about that announce memory for other programs. Pure; records facts, the scheduler concludes."""

from vramd_common.reasons import Reason

from ..domain.errors import Refusal, in_words, refusal, shutting_down
from .actions import CancelDeadline, Refuse, SetTimer
from .events import AnnouncementExpired, AnnouncementWithdrawn, DeadlinePassed, MemoryAnnounced
from .state import Announcement
from .world import World


def announced(world: World, event: MemoryAnnounced) -> None:
    """Puts a reservation into the line of those who wait for room, or refuses it at once."""
    if world.ending:
        world.emit(Refuse(event.request, shutting_down()))
        return
    announcement = Announcement(
        id=world.next_row(),
        request=event.request,
        device=event.device,
        size_bytes=event.size_bytes,
        ttl_s=event.ttl_s,
        label=event.label,
        limit_s=event.limit_s,
        since_s=event.at_s,
        turn=world.next_turn(),
    )
    world.announcing[event.request] = announcement
    world.lobby.add(announcement, {event.device})
    world.emit(SetTimer(DeadlinePassed(event.at_s + event.limit_s, event.request)))
    world.room_changed = True


def ended(world: World, event: AnnouncementWithdrawn | AnnouncementExpired) -> None:
    """A reservation is given back, or has stood for its time; one that has ended already is no longer known."""
    if announcement := world.announced.get(event.reservation):
        cause = "has had its time" if isinstance(event, AnnouncementExpired) else "was released"
        world.withdraw(announcement, cause)


def caller_left(world: World, request: int) -> None:
    """Nobody learns the id of a reservation whose caller has left: it ends, waiting or standing."""
    leave_line(world, request)
    for announcement in list(world.announced.values()):
        if announcement.request == request:
            world.withdraw(announcement, "was released: its caller left before the answer")


def deadline_passed(world: World, request: int) -> None:
    """Refuses a reservation for which there was no room in time."""
    if announcement := world.announcing.get(request):
        size, device, limit_s = in_words(announcement.size_bytes), announcement.device, f"{announcement.limit_s:g}"
        text = f"{announcement.name} waited for {size} on {device}; its {limit_s} s are over"
        refuse(world, announcement, refusal(Reason.DEADLINE_PASSED, text, limitS=limit_s))


def refuse(world: World, announcement: Announcement, why: Refusal) -> None:
    """Ends a reservation that waits, with an error."""
    leave_line(world, announcement.request)
    world.record_refusal(announcement.name, why)
    world.emit(Refuse(announcement.request, why))


def leave_line(world: World, request: int) -> None:
    """Takes a reservation out of the line, if it is in there."""
    if announcement := world.announcing.pop(request, None):
        world.lobby.remove(announcement)
        world.emit(CancelDeadline(request))
        world.room_changed = True


def shutdown_requested(world: World) -> None:
    """The supervisor ends, and so does every reservation."""
    for waits in list(world.announcing.values()):
        refuse(world, waits, shutting_down())
    for stands in list(world.announced.values()):
        world.withdraw(stands, "ends with the supervisor")
