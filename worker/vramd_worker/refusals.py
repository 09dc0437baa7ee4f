"""An exception becomes what a call is ended with."""

import sys
import traceback
import uuid

from vramd_common.reasons import Reason
from vramd_common.statuses import Packed, pack

from vramd_worker.engine import EngineError


def refusal(error: EngineError, model: str) -> Packed:
    """The status for an error; `model` is added where the table of reasons names it."""
    return pack(error.reason, str(error), {"model": model} | error.metadata)


def incident(fault: Exception) -> EngineError:
    """An unforeseen exception, as the caller may see it: an id. The traceback goes to stderr under that id."""
    incident_id = uuid.uuid4().hex
    sys.stderr.write(f"incident {incident_id}:\n{''.join(traceback.format_exception(fault))}")
    sys.stderr.flush()
    return EngineError(
        Reason.INTERNAL, f"a fault of vramd, see the model's log for incident {incident_id}", incidentId=incident_id
    )
