"""All operations on a store: their arguments, in one class for each way of reaching the store.

:class:`Operations`, all of them, is the interface between the training process and the tracking process. Callers name
an operation by its method, such as ``Operations.write_points``, so a type checker catches a wrong name or argument.
:class:`gradclip.tracking.backend.operations.Backend` implements the methods with MLflow.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import TypeAdapter

from gradclip.tracking.records import Call, Dataset, DatasetDescription, ModelFiles, Parent, Point, StoppedRun

if TYPE_CHECKING:
    from pathlib import Path

    from gradclip.tracking.stored_runs import Curve, Selection, StoredRun


class QueryOperations(Protocol):
    """Operations that are performed once, while the caller waits for the answer."""

    def open(self) -> str:
        """Create store and experiment if needed, close runs whose process is gone and return the experiment's id."""

    def check_readable(self) -> None:
        """Raise an error if the store does not exist; MLflow would create it."""

    def is_read_only(self) -> bool:
        """Return whether the store is read-only."""

    def describe_datasets(self, datasets: Sequence[Dataset]) -> Sequence[DatasetDescription]:
        """Describe data sets as MLflow does, by digest, schema and profile; needs no store."""

    def select_runs(self, selector: str | Sequence[str] | None) -> "Selection":
        """Find training runs by filter, experiment, run id, parent id or ids; None selects the newest multirun."""

    def read_newest_runs(self, count: int) -> "list[StoredRun]":
        """Return the experiment's last training runs that have ended, newest first."""

    def read_run(self, run_id: str) -> "StoredRun":
        """Return one run."""

    def read_curves(self, run_ids: Sequence[str], key: str, max_points: int) -> "dict[str, Curve]":
        """Return the history of a metric in each run that has it, thinned evenly to ``max_points``.

        Args:
            run_ids: ids of the runs.
            key: name of the metric.
            max_points: maximum number of points of each curve.
        """

    def read_file(self, run_id: str, name: str, folder: str) -> "Path | None":
        """Download an artifact into a folder and return its path, or None if it does not exist.

        Args:
            run_id: id of the run.
            name: path of the artifact among the run's artifacts.
            folder: folder to write to.
        """

    def read_model(self, run_id: str, folder: str) -> "Path | None":
        """Download the files that a stored model's predictor reads; return their folder, or None without a model."""

    def find_stopped_run(self, run_id: str) -> StoppedRun:
        """Find a run to resume: by its id, or by ``last``, the last one that was stopped on this machine."""

    def find_finished_run(self, fingerprint: str) -> "StoredRun | None":
        """Find the last finished run with the same settings."""


class WriteOperations(Protocol):
    """Operations that are retried for a while, and then spooled beside the run.

    Every write can be repeated without harm: an existing point, parameter, tag or file stays as it is, and a run is
    recognized by its creation tag.
    """

    def create_run(
        self, name: str, tags: Mapping[str, str], parent: Parent | None, start: int | None, repeated: bool = False
    ) -> str:
        """Create a run and return its id; if it may exist already, look for its creation tag first.

        Args:
            name: name of the run.
            tags: tags of the run.
            parent: the parent run of its multirun, created if needed.
            start: start time in milliseconds since 1970; None means now.
            repeated: whether an earlier attempt may have created it.
        """

    def reopen_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set a stopped run to RUNNING, owned by the process that its tags name."""

    def write_parameters(self, run_id: str, parameters: Mapping[str, str]) -> None:
        """Log the settings of a run."""

    def write_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log metrics."""

    def write_summary(self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], timestamp: int) -> None:
        """Log final metrics and tags.

        Args:
            run_id: id of the run.
            metrics: values by name.
            tags: values by name.
            timestamp: time in milliseconds since 1970.
        """

    def write_datasets(self, run_id: str, datasets: Sequence[DatasetDescription]) -> None:
        """Log the data sets that a run reads."""

    def write_files(self, run_id: str, folder: str, artifact_folder: str | None = None) -> None:
        """Store the content of a folder as artifacts.

        Args:
            run_id: id of the run.
            folder: folder to store.
            artifact_folder: destination among the artifacts; None means their root.
        """

    def write_run_files(self, run_id: str, folder: str) -> None:
        """Store figures, telemetry, explosion report and weights in a run's folder as artifacts."""

    def write_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as an artifact.

        Args:
            run_id: id of the run.
            text: content of the artifact.
            name: path of the artifact.
        """

    def write_model(self, run_id: str, files: ModelFiles) -> None:
        """Store a trained model."""

    def end_run(self, run_id: str, status: str, end: int | None = None) -> None:
        """Set a run to FINISHED, FAILED or KILLED.

        Args:
            run_id: id of the run.
            status: FINISHED, FAILED or KILLED.
            end: end time in milliseconds since 1970; None means now.
        """


class LocalOperations(Protocol):
    """Operations that need no store, performed once, after all earlier writes are stored or spooled."""

    def keep_checkpoint(self, run_id: str, path: str) -> None:
        """Set the checkpoint from which the run resumes."""

    def start_system_metrics(self, run_id: str) -> None:
        """Record CPU, memory and disk use, until the store fails once."""


class Operations(QueryOperations, WriteOperations, LocalOperations, Protocol):
    """Interface to a store."""


WRITES = frozenset(name for name in vars(WriteOperations) if not name.startswith("_"))  # names of all writes


@cache
def needs_run(operation: str) -> bool:
    """Return whether the first argument of an operation is the id of a run."""
    return "run_id" in inspect.signature(getattr(Operations, operation)).parameters


@cache
def argument_types(operation: str) -> dict[str, TypeAdapter[Any]]:
    """Return the adapters that check and encode a write's arguments, by name, in order, without the run's id."""
    parameters = inspect.signature(getattr(Operations, operation)).parameters.values()
    return {
        parameter.name: TypeAdapter(parameter.annotation)
        for parameter in parameters
        if parameter.name not in {"self", "run_id"}
    }


def named_arguments(call: Call) -> dict[str, Any]:
    """Return the arguments of a write by name, in order, without the run's id."""
    return dict(zip(argument_types(call.operation), call.arguments, strict=False))
