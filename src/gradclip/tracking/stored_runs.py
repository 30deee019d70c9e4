"""What is read from the store; plain data, no MLflow."""

from dataclasses import dataclass, field
from typing import NamedTuple

from gradclip import keys
from gradclip.arrays import Floats, Integers
from gradclip.scores import Split


@dataclass(frozen=True)
class StoredRun:
    """A training run as the store has it.

    Attributes:
        run_id: its id.
        name: its name.
        parent: id of the multirun that it belongs to; None for a run of its own.
        status: FINISHED, RUNNING, FAILED or KILLED.
        seconds: from its start to its end; NaN if it has not ended.
        parameters: every setting, as text under its dotted name.
        metrics: the last value of each metric.
        tags: its tags, without those of MLflow.
        rows: number of rows of each kind of examples, where they are a table.
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
        """``learned``, ``stalled`` or ``diverged``; empty where the run has not ended."""
        return self.tags.get(keys.OUTCOME, "")


class Selection(NamedTuple):
    """The runs that were asked for.

    Attributes:
        runs: the training runs that ended, oldest first.
        unfinished: how many others were left out, since they have not ended, or failed.
        parent: id of the multirun that all of them belong to, if one was asked for.
        title: what was asked for, in words.
    """

    runs: list[StoredRun]
    unfinished: int
    parent: str | None
    title: str


class Curve(NamedTuple):
    """The finite points of a metric: steps and values, ``[points]`` each, in the order of the steps."""

    step: Integers
    value: Floats
