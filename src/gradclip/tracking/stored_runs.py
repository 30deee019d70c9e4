"""Plain data that is read from the store, without MLflow."""

from dataclasses import dataclass, field
from typing import NamedTuple

from gradclip import keys
from gradclip.arrays import Floats, Integers
from gradclip.scores import Split


@dataclass(frozen=True)
class StoredRun:
    """A training run in the store.

    Attributes:
        run_id: its id.
        name: its name.
        parent: id of its parent run; None for a run outside a multirun.
        status: FINISHED, RUNNING, FAILED or KILLED.
        seconds: time from start to end; NaN if it has not ended.
        parameters: every setting, as text under its dotted name.
        metrics: the last value of each metric.
        tags: its tags, without those of MLflow.
        rows: number of rows of each split, if they come from a table.
    """

    run_id: str
    name: str
    parent: str | None
    status: str
    seconds: float
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    rows: dict[Split, int] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """``learned``, ``stalled``, ``diverged`` or ``finished``; empty if the run has no result."""
        return self.tags.get(keys.OUTCOME, "")

    @property
    def is_solved(self) -> bool | None:
        """Whether the run solved its task; None if the data set does not define that."""
        solved = self.tags.get(keys.SOLVED)
        return None if solved is None else solved == "true"


class Selection(NamedTuple):
    """The runs that match a query.

    Attributes:
        runs: the training runs that ended, oldest first.
        unfinished: number of matching runs that are excluded because they failed or have not ended.
        parent: id of the parent run, if the query was a multirun.
        title: the query in words.
    """

    runs: list[StoredRun]
    unfinished: int
    parent: str | None
    title: str


class Curve(NamedTuple):
    """The finite points of a metric, sorted by step: steps and values, ``[points]`` each."""

    step: Integers
    value: Floats
