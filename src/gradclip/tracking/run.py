"""A tracked run, as the training process sees it: every call returns at once, the tracking process does the work."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from gradclip.tracking.messages import Dataset, ModelFiles, Parent, Point, Store
from gradclip.tracking.worker import result_of, submit


class TrackedRun:
    """One run in the store.

    Args:
        store: where it is kept.
        name: its name.
        tags: its tags from the start.
        parent: the multirun that it belongs to.

    Raises:
        TrackingError: the store cannot be opened.
    """

    def __init__(self, store: Store, name: str, tags: Mapping[str, str], parent: Parent | None = None) -> None:
        self.store, self.name = store, name
        self._pending: list[Future[Any]] = []
        self.experiment_id: str = result_of(submit("open_store", store))
        self.run_id: str = result_of(submit("create_run", store, name, dict(tags), parent))

    def write_parameters(self, parameters: Mapping[str, str]) -> None:
        """Write the settings."""
        self._later("write_parameters", dict(parameters))

    def write_points(self, points: Sequence[Point]) -> None:
        """Write metrics."""
        self._later("write_points", list(points))

    def write_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write what is known at the end."""
        self._later("write_summary", dict(metrics), dict(tags))

    def write_files(self, folder: str) -> None:
        """Store a folder's content as artifacts."""
        self._later("write_files", folder)

    def write_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._later("write_text", text, name)

    def write_datasets(self, datasets: Sequence[Dataset]) -> None:
        """Tell which rows are read."""
        self._later("write_datasets", list(datasets))

    def write_model(self, files: ModelFiles) -> None:
        """Store the trained model."""
        self._later("write_model", files)

    def start_system_metrics(self) -> None:
        """Begin to record what the machine does."""
        self._later("start_system_metrics")

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            TrackingError: something could not be written.
        """
        pending, self._pending = self._pending, []
        for future in pending:
            result_of(future)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED, once all is written."""
        self._later("end_run", status)
        self.wait()

    def _later(self, function_name: str, *arguments: Any) -> None:
        self._pending.append(submit(function_name, self.store, self.run_id, *arguments))
