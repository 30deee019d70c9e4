"""Failures of a store: what is said of them, and whether another attempt may help."""

import re

from mlflow.exceptions import MlflowException
from requests import HTTPError

from gradclip.errors import RefusedWriteError, TrackingError, UnreachableStoreError, first_line
from gradclip.tracking.records import Store

ABOUT_THE_WRITE = {"RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST"}
ABOUT_THE_RUN = {"RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND", "NOT_FOUND"}
TOO_LARGE = {413, 414, 422}  # of HTTP, which MLflow has no answer for
STATUS = re.compile(r"failed with error code (\d+)")  # in MLflow's words, where something before the server answers


def failure(store: Store, operation: str, error: Exception) -> TrackingError:
    """Return what could not be done and why, in one line; its class says what may help.

    Args:
        store: that failed.
        operation: name of the operation.
        error: as MLflow or the database raised it.

    Returns:
        A :class:`~gradclip.errors.RefusedWriteError` where nothing does, an
        :class:`~gradclip.errors.UnreachableStoreError` where another attempt may, else one that the user can mend.
    """
    line = f"tracking.uri: got {store.uri!r}; could not {operation.replace('_', ' ')}: {first_line(error)}"
    if is_refusal(error):
        return RefusedWriteError(line)
    is_about_the_run = isinstance(error, MlflowException) and error.error_code in ABOUT_THE_RUN
    return TrackingError(line) if is_about_the_run or _status(error) in {401, 403, 404} else UnreachableStoreError(line)


def is_refusal(error: Exception) -> bool:
    """Whether the store refuses a write for what is in it.

    Example:
        >>> is_refusal(MlflowException("API request to endpoint /x failed with error code 413 != 200."))
        True
        >>> is_refusal(ConnectionError("no answer"))
        False
    """
    return (isinstance(error, MlflowException) and error.error_code in ABOUT_THE_WRITE) or _status(error) in TOO_LARGE


def _status(error: Exception) -> int:
    """The HTTP status that an error tells of; 0 without one."""
    if isinstance(error, HTTPError) and error.response is not None:
        return int(error.response.status_code)
    found = STATUS.search(str(error)) if isinstance(error, MlflowException) else None
    return int(found[1]) if found else 0
