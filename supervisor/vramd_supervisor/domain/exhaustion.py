"""Says which of the system's resources an error means: descriptors, or processes and threads. Pure."""

import errno

from vramd_common.reasons import Reason

from .errors import Refusal, refusal

_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_NO_THREAD = "can't start new thread"
"""Python's words, under whatever the system said."""


def exhausted(error: BaseException) -> Refusal | None:
    """Returns the refusal for what failed because the system has no more of something; None for another failure."""
    if isinstance(error, OSError) and error.errno in _DESCRIPTORS:
        return refusal(Reason.FD_EXHAUSTED, "the supervisor may open no more files and connections (ulimit -n)")
    no_process = isinstance(error, OSError) and error.errno == errno.EAGAIN
    if no_process or any(_NO_THREAD in str(one) for one in (error, error.__cause__)):
        return refusal(Reason.PROCESSES_EXHAUSTED, "no more processes or threads may be started here (ulimit -u, pids)")
    return None
