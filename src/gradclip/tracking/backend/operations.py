"""All operations of a store in one class; see the interface, :class:`gradclip.tracking.operations.Operations`."""

from functools import cache

from gradclip.tracking.backend.models import Models
from gradclip.tracking.backend.queries import Queries
from gradclip.tracking.backend.recovery import Recovery
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Store


class Backend(Recovery, Models, Queries, Operations):
    """All operations of one store."""


@cache
def backend_of(store: Store) -> Backend:
    """Return the backend of a store, always the same object."""
    return Backend(store)
