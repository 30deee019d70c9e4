"""Failures of a store: their error messages, and whether another attempt may help."""

import re

from mlflow.exceptions import MlflowException
from requests import HTTPError

from gradclip.errors import RefusedWriteError, TrackingError, UnreachableStoreError, first_line
from gradclip.tracking.records import Store

ABOUT_THE_WRITE = {"RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST"}
ABOUT_THE_RUN = {"RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND", "NOT_FOUND"}
TOO_LARGE = {413, 414, 422}  # HTTP status codes for which MLflow has no error code
STATUS = re.compile(r"failed with error code (\d+)")  # in MLflow's message, if a proxy answers in place of the server


def failure(store: Store, operation: str, error: Exception) -> TrackingError:
    """Convert a failure to an error with a message of one line, whose class says what may help.

    Args:
        store: the store that failed.
        operation: name of the operation.
        error: the exception of MLflow or the database.

    Returns:
        A :class:`~gradclip.errors.RefusedWriteError` if nothing helps, an
        :class:`~gradclip.errors.UnreachableStoreError` if another attempt may, else an error that the user can fix.
    """
    line = f"tracking.uri: got {store.uri!r}; could not {operation.replace('_', ' ')}: {first_line(error)}"
    if is_refusal(error):
        return RefusedWriteError(line)
    is_about_the_run = isinstance(error, MlflowException) and error.error_code in ABOUT_THE_RUN
    return TrackingError(line) if is_about_the_run or _status(error) in {401, 403, 404} else UnreachableStoreError(line)


def is_refusal(error: Exception) -> bool:
    """Return whether the store refuses a write because of its content.

    Example:
        >>> is_refusal(MlflowException("API request to endpoint /x failed with error code 413 != 200."))
        True
        >>> is_refusal(ConnectionError("no answer"))
        False
    """
    return (isinstance(error, MlflowException) and error.error_code in ABOUT_THE_WRITE) or _status(error) in TOO_LARGE


def _status(error: Exception) -> int:
    """Return the HTTP status of an error; 0 if it has none."""
    if isinstance(error, HTTPError) and error.response is not None:
        return int(error.response.status_code)
    found = STATUS.search(str(error)) if isinstance(error, MlflowException) else None
    return int(found[1]) if found else 0
