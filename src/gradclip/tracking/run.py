"""A tracked run in the training process: writes return at once, and the tracking process performs them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Concatenate, ParamSpec
from uuid import uuid4

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.program import command_line
from gradclip.tracking import process
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK, hold, owner_tags, release
from gradclip.tracking.records import (
    CHECKPOINT_FILE,
    SPOOL_FILE,
    BegunRun,
    Call,
    DatasetDescription,
    ModelFiles,
    Parent,
    Point,
    RunEnd,
    StoppedRun,
    Store,
    now,
)

P = ParamSpec("P")
ENDED_EARLY = {  # descriptions of runs without a result
    "FAILED": "**Failed**: the command that trained it printed the reason.",
    "KILLED": "**Stopped** before its end. If it was trained alone, resume=last continues it.",
}


class TrackedRun:
    """One run in the store.

    If the run is resumed, parameters and points that the store already has are not written again.

    Args:
        store: the store.
        name: name of the run.
        tags: initial tags.
        folder: folder of the run's files.
        parent: the parent run, if the run belongs to a multirun.
        resumed: the run to resume; None creates a new one.
        lock: a lock that this process holds for all its runs; by default, one in the run's folder until the run ends.
        spool: whether to spool the run's creation if the store could be opened but then fails.

    Attributes:
        unsent: number of writes in the spool when :meth:`wait` last returned.

    Raises:
        TrackingError: another process is training this run, or the folder has unsent writes of an earlier run.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        tags: Mapping[str, str],
        folder: Path,
        parent: Parent | None = None,
        resumed: StoppedRun | None = None,
        lock: Path | None = None,
        spool: bool = False,
    ) -> None:
        if not resumed and (folder / SPOOL_FILE).exists():  # the writes of this run would be sent to the earlier one
            send = command_line("sync", [str(folder)])
            raise TrackingError(f"{folder}: writes of an earlier run wait here for the store; send them first: {send}")
        self.store, self.name, self.folder = store, name, folder
        self.unsent = 0
        self._pending: list[Future[int]] = []
        self._last_steps = resumed.last_steps if resumed else {}
        self._parameters = resumed.parameters if resumed else frozenset()
        self._own_lock = None if lock else folder / RUN_LOCK
        lock = lock or folder / RUN_LOCK
        if not hold(lock):
            raise TrackingError(f"{folder}: another command is training this run")
        all_tags = {**tags, keys.FOLDER: str(folder), **owner_tags(lock)}
        if resumed:
            self._id = resumed.run_id
            begin = self._call(Operations.reopen_run, all_tags)
        else:
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # an earlier run's; this run must not resume from it
            self._id = uuid4().hex  # a creation tag, which identifies the run to the tracking process
            create = (name, all_tags | {keys.CREATION: self._id}, parent, now())
            begin = Call(store, Operations.create_run.__name__, self._id, create, str(folder))
        self._begun = process.begin_run(begin, spool)

    @property
    def begun(self) -> BegunRun:
        """The ids of the run and its experiment; waits until the run is created or its creation is spooled.

        Raises:
            TrackingError: the store cannot be opened, or refuses the run.
        """
        return process.result_of(self._begun)

    @property
    def run_id(self) -> str:
        """The id of the run, see :attr:`begun`."""
        return self.begun.run_id

    def write_parameters(self, parameters: Mapping[str, str]) -> None:
        """Log the settings."""
        new = {name: value for name, value in parameters.items() if name not in self._parameters}
        self._write(Operations.write_parameters, new)

    def write_points(self, points: Sequence[Point]) -> None:
        """Log metrics."""
        self._write(Operations.write_points, [point for point in points if self._is_new(point.key, point.step)])

    def write_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log final metrics and tags."""
        new = {key: value for key, value in metrics.items() if self._is_new(key, step=0)}
        self._write(Operations.write_summary, new, dict(tags), now())

    def write_run_files(self) -> None:
        """Store the run's figures, telemetry, explosion report and weights as artifacts."""
        self._write(Operations.write_run_files, str(self.folder))

    def write_files(self, folder: Path, artifact_folder: str | None = None) -> None:
        """Store the content of a folder as artifacts."""
        self._write(Operations.write_files, str(folder), artifact_folder)

    def write_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._write(Operations.write_text, text, name)

    def write_datasets(self, datasets: Sequence[DatasetDescription]) -> None:
        """Log the data sets that the run reads."""
        self._write(Operations.write_datasets, list(datasets))

    def write_model(self, files: ModelFiles) -> None:
        """Store the trained model."""
        self._write(Operations.write_model, files)

    def keep_checkpoint(self, path: Path) -> None:
        """Set the checkpoint from which the run resumes, after all earlier writes are stored or spooled."""
        call = Call(self.store, Operations.keep_checkpoint.__name__, self._id, (str(path),), str(self.folder))
        self._pending.append(process.deliver(call))

    def start_system_metrics(self) -> None:
        """Start recording CPU, memory and disk use."""
        self._write(Operations.start_system_metrics)

    def complete(self, end: RunEnd) -> None:
        """Store files, log curves, final metrics and tags in one call, and set the run to FINISHED."""
        call = Call(self.store, Operations.end_run.__name__, self._id, (), str(self.folder))
        self._pending.append(process.complete_run(call, end))

    def end(self, status: str, wait: bool = True) -> None:
        """Set the run to FINISHED, FAILED or KILLED, and wait until everything is written or spooled.

        Raises:
            TrackingError: something could not be written.
        """
        if status in ENDED_EARLY:
            self.write_summary({}, {keys.DESCRIPTION: ENDED_EARLY[status]})
        self._write(Operations.end_run, status, now())
        if wait:
            try:
                self.wait()
            finally:
                if self._own_lock:
                    release(self._own_lock)

    def wait(self) -> None:
        """Wait until everything is written or spooled.

        Raises:
            TrackingError: something could not be written.
        """
        self.begun  # noqa: B018  # raises the error that kept the run from being created
        for future in self._pending:
            future.exception()  # wait for all before raising the first failure
        for future in self._pending:
            self.unsent = process.result_of(future)
        self._pending.clear()

    def _is_new(self, key: str, step: int) -> bool:
        return step > self._last_steps.get(key, -1)

    def _write(
        self, operation: Callable[Concatenate[Operations, str, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self._pending.append(process.deliver(self._call(operation, *args, **kwargs)))

    def _call(
        self, operation: Callable[Concatenate[Operations, str, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> Call:
        assert not kwargs  # calls are spooled with positional arguments only
        return Call(self.store, operation.__name__, self._id, args, str(self.folder))
