"""A tracked run, as the training process sees it: every call returns at once, the tracking process does the work."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

from gradclip import keys
from gradclip.tracking.owner import owner_tags
from gradclip.tracking.process import result_of, submit
from gradclip.tracking.records import Call, Dataset, ModelFiles, Parent, Point, StoppedRun, Store, now


class TrackedRun:
    """One run in the store.

    Of a run that is taken up, parameters and points that the store has are not written again.

    Args:
        store: where it is kept.
        name: its name.
        tags: its tags from the start.
        folder: where its files are.
        parent: the multirun that it belongs to.
        resumed: the run that is taken up; None creates one.

    Attributes:
        run_id: its id; one of ours, as long as its creation is spooled.
        experiment_id: that of its experiment; None as long.
        unsent: how many writes were in the spool when it was last waited for.

    Raises:
        TrackingError: the store cannot be opened.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        tags: Mapping[str, str],
        folder: Path,
        parent: Parent | None = None,
        resumed: StoppedRun | None = None,
    ) -> None:
        self.store, self.name = store, name
        self._pending: list[Future[Any]] = []
        self._last_steps = resumed.last_steps if resumed else {}
        self._parameters = resumed.parameters if resumed else frozenset()
        self._folder = str(folder)
        self.unsent = 0
        everything = {**tags, keys.FOLDER: str(folder), **owner_tags()}
        if resumed:
            begin = self._call("reopen_run", resumed.run_id, everything)
        else:
            begin = self._call("create_run", "", name, everything | {keys.CREATION: uuid4().hex}, parent, now())
        self.experiment_id: str | None
        self.run_id: str
        self.experiment_id, self.run_id = result_of(submit("begin_run", begin))

    def write_parameters(self, parameters: Mapping[str, str]) -> None:
        """Write the settings."""
        self._later("write_parameters", {name: parameters[name] for name in parameters.keys() - self._parameters})

    def write_points(self, points: Sequence[Point]) -> None:
        """Write metrics."""
        self._later("write_points", [point for point in points if self._is_new(point.key, point.step)])

    def write_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write what is known at the end."""
        new = {key: value for key, value in metrics.items() if self._is_new(key, step=0)}
        self._later("write_summary", new, dict(tags), now())

    def write_files(self, folder: Path) -> None:
        """Store what a run leaves in its folder as artifacts."""
        self._later("write_run_files", str(folder))

    def keep_checkpoint(self, path: Path) -> None:
        """Make a checkpoint the one to go on from, once all that came before it is in the store."""
        self._later("keep_checkpoint", str(path))

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
        """Wait until all is written, or spooled.

        Raises:
            TrackingError: something could not be written.
        """
        pending, self._pending = self._pending, []
        for future in pending:
            self.unsent = result_of(future)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED, once all is written."""
        self._later("end_run", status, now())
        self.wait()

    def _is_new(self, key: str, step: int) -> bool:
        return step > self._last_steps.get(key, -1)

    def _later(self, function_name: str, *arguments: Any) -> None:
        self._pending.append(submit("deliver", self._call(function_name, self.run_id, *arguments)))

    def _call(self, function_name: str, run_id: str, *arguments: Any) -> Call:
        return Call(self.store, function_name, run_id, arguments, self._folder)
