"""Writes to one run."""

from collections.abc import Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec

from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call, Point, RunEnd, Store

P = ParamSpec("P")


class RunAddress(NamedTuple):
    """The run that a write belongs to; see :class:`gradclip.tracking.records.Call` for the attributes."""

    store: Store
    run_id: str
    folder: str

    def call(
        self, operation: Callable[Concatenate[Operations, str, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> Call:
        """Return a write to the run.

        Args:
            operation: method of :class:`~gradclip.tracking.operations.Operations`.
            args: its arguments after the run's id.
            kwargs: must be empty; mypy needs the parameter to check the arguments.
        """
        assert not kwargs
        return Call(self.store, operation.__name__, self.run_id, args, self.folder)


def files_of_end(run: RunAddress) -> Call:
    """Return the write that stores the files of a completed run."""
    return run.call(Operations.write_run_files, run.folder)


def numbers_of_end(run: RunAddress, end: RunEnd) -> list[Call]:
    """Return the writes that complete a run after its files are stored."""
    points = [
        Point(key, value, end.timestamp, step)
        for key, curve in end.curves.items()
        for step, value in zip(curve.step.tolist(), curve.value.tolist(), strict=True)
    ]
    return [
        run.call(Operations.write_points, points),
        run.call(Operations.write_summary, end.summary, end.tags, end.end),
        run.call(Operations.end_run, "FINISHED", end.end),
    ]
