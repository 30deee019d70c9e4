"""A tracked run in the training process: writes return at once, and the tracking process performs them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self
from uuid import uuid4

from gradclip import keys
from gradclip.errors import RefusedWriteError, TrackingError
from gradclip.program import command_line
from gradclip.tracking import process
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK, hold, owner_tags, release
from gradclip.tracking.records import (
    CHECKPOINT_FILE,
    SPOOL_FILE,
    BegunRun,
    Call,
    Parent,
    Point,
    RunDescription,
    RunEnd,
    RunStart,
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
    """One run in the store, which :meth:`begin` or :func:`begin_together` creates or reopens.

    If the run is resumed, parameters and points that the store already has are not written again.

    Args:
        store: the store.
        name: name of the run.
        tags: initial tags.
        folder: folder of the run's files.
        parent: the parent run, if the run belongs to a multirun.
        resumed: the run to resume; None creates a new one.
        lock: a lock that this process holds for all its runs; by default, one in the run's folder until the run ends.

    Attributes:
        unsent: number of writes in the spool when :meth:`wait` last returned.
        refused: the first write that the store refused for good; None if it has accepted all others.

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
    ) -> None:
        if not resumed and (folder / SPOOL_FILE).exists():  # the writes of this run would be sent to the earlier one
            send = command_line("sync", [str(folder)])
            raise TrackingError(f"{folder}: writes of an earlier run wait here for the store; send them first: {send}")
        self.store, self.name, self.folder = store, name, folder
        self.unsent = 0
        self.refused: RefusedWriteError | None = None
        self._begun: Future[BegunRun]
        self._pending: list[Future[int]] = []
        self._last_steps = resumed.last_steps if resumed else {}
        self._parameters = resumed.parameters if resumed else frozenset()
        self._own_lock = None if lock else folder / RUN_LOCK
        lock = lock or folder / RUN_LOCK
        if not hold(lock):
            raise TrackingError(f"{folder}: another command is training this run")
        all_tags = {**tags, keys.FOLDER: str(folder), **owner_tags(lock)}
        if resumed:
            self._address = RunAddress(store, resumed.run_id, str(folder))
            self._first_call = self._address.call(Operations.reopen_run, all_tags)
        else:
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # an earlier run's; this run must not resume from it
            creation = uuid4().hex  # identifies the run to the tracking process
            self._address = RunAddress(store, creation, str(folder))
            create = (name, all_tags | {keys.CREATION: creation}, parent, now())
            self._first_call = Call(store, Operations.create_run.__name__, creation, create, str(folder))

    def begin(self) -> Self:
        """Create or reopen the run; return before the store answers."""
        self._begun = process.begin_run(self._first_call)
        return self

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

    def describe(self, description: RunDescription) -> None:
        """Store the settings and the data sets."""
        self._pending += map(process.deliver, self._describing_calls(description))

    def _describing_calls(self, description: RunDescription) -> tuple[Call, Call, Call]:
        call = self._address.call
        new = {name: value for name, value in description.parameters.items() if name not in self._parameters}
        return (
            call(Operations.write_text, description.config, keys.CONFIG_FILE),
            call(Operations.write_parameters, new),
            call(Operations.write_datasets, description.datasets),
        )

    def write(
        self, operation: Callable[Concatenate[Operations, str, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Write to the run; return before the store answers.

        Args:
            operation: method of :class:`~gradclip.tracking.operations.Operations`.
            args: its arguments after the run's id.
            kwargs: must be empty.
        """
        self._pending.append(process.deliver(self._address.call(operation, *args, **kwargs)))

    def write_points(self, points: Sequence[Point]) -> None:
        """Log metrics."""
        self.write(Operations.write_points, [point for point in points if self._is_new(point.key, point.step)])

    def write_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log final metrics and tags."""
        new = {key: value for key, value in metrics.items() if self._is_new(key, step=0)}
        self.write(Operations.write_summary, new, dict(tags), now())

    def write_run_files(self) -> None:
        """Store the run's figures, telemetry, explosion report and weights as artifacts."""
        self.write(Operations.write_run_files, str(self.folder))

    def keep_checkpoint(self, path: Path) -> None:
        """Set the checkpoint from which the run resumes, after all earlier writes are stored or spooled."""
        self.write(Operations.keep_checkpoint, str(path))

    def end(self, status: str, wait: bool = True) -> None:
        """Set the run to FINISHED, FAILED or KILLED, and wait until everything is written or spooled.

        Raises:
            TrackingError: something could not be written.
        """
        if status in ENDED_EARLY:
            self.write_summary({}, {keys.DESCRIPTION: ENDED_EARLY[status]})
        self.write(Operations.end_run, status, now())
        if wait:
            try:
                self.wait()
            finally:
                if self._own_lock:
                    release(self._own_lock)

    def wait(self) -> None:
        """Wait until everything is written, spooled or refused; a refusal is kept in :attr:`refused`.

        Raises:
            TrackingError: something could not be written.
        """
        self.refused = self.refused or self.begun.refused  # raises the error that kept the run from being created
        for future in self._pending:
            future.exception()  # wait for all before raising the first failure
        for future in self._pending:
            try:
                self.unsent = process.result_of(future)
            except RefusedWriteError as error:  # the spool, if there was one, has been sent
                self.unsent, self.refused = 0, self.refused or error
        self._pending.clear()

    def _is_new(self, key: str, step: int) -> bool:
        return step > self._last_steps.get(key, -1)


def begin_together(runs: Sequence[tuple[TrackedRun, RunDescription]]) -> None:
    """Create and describe runs, in one database transaction where possible.

    If the store could be opened but then fails, these writes are spooled.
    """
    starts = [RunStart(run._first_call, *run._describing_calls(description)) for run, description in runs]
    for (run, _), begun in zip(runs, process.begin_runs(starts), strict=True):
        run._begun = begun


def complete_together(ends: Sequence[tuple[TrackedRun, RunEnd]]) -> None:
    """Store the files, curves, final metrics and tags of runs, and set the runs to FINISHED."""
    completed = process.complete_runs([(run._address, end) for run, end in ends])
    for (run, _), one in zip(ends, completed, strict=True):
        run._pending.append(one)
