"""What the training process tells the tracking process; plain data, no MLflow."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from gradclip.config.tracking import TrackingSettings
    from gradclip.tracking.stored_runs import Curve

PARENT_FILE = "parent.json"  # in the folder of a multirun: its parent run and the store that it is in
RUN_FILE = "run.json"  # in the folder of a run: which run of the store it belongs to
SPOOL_FILE = "unsent.jsonl"  # in the folder of a run: what the store has not taken yet
CHECKPOINT_FILE = "checkpoints/last.ckpt"  # in the folder of a run: all that it takes to go on


def now() -> int:
    """Milliseconds since 1970, as stores count time."""
    return time.time_ns() // 1_000_000


class Store(NamedTuple):
    """Where runs are kept.

    Attributes:
        uri: tracking URI of MLflow.
        artifacts: folder of the artifacts, for a database store.
        experiment: name of the experiment.
        patience: seconds to go on trying to write what it does not take, before that is spooled.
        spool_if_absent: whether everything is spooled where it cannot be opened.
    """

    uri: str
    artifacts: str
    experiment: str
    patience: float = 60.0
    spool_if_absent: bool = False

    @classmethod
    def of(cls, settings: "TrackingSettings") -> "Store":
        """The store that the settings name."""
        assert settings.uri is not None
        choice = (settings.uri, settings.artifacts, settings.experiment)
        return cls(*choice, settings.retry_seconds, settings.spool_if_absent)


class Parent(NamedTuple):
    """The multirun that a run belongs to.

    Attributes:
        folder: where the jobs of the multirun write.
        name: name of the parent run.
        tags: its tags.
    """

    folder: str
    name: str
    tags: dict[str, str]


class StoppedRun(NamedTuple):
    """A run that is taken up.

    Attributes:
        run_id: its id.
        name: its name.
        folder: where it wrote.
        host: the machine that it ran on.
        config: its resolved config, YAML.
        parameters: names of those that are in the store.
        last_steps: of each metric, the last step that is in the store.
    """

    run_id: str
    name: str
    folder: str
    host: str
    config: str
    parameters: frozenset[str]
    last_steps: dict[str, int]


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp: int
    step: int


class Call(NamedTuple):
    """A write to the store.

    Attributes:
        store: which.
        function_name: of :mod:`gradclip.tracking.backend.connection`, :mod:`~gradclip.tracking.backend.writes`,
            :mod:`~gradclip.tracking.backend.models` or :mod:`~gradclip.tracking.backend.recovery`.
        run_id: the run that is written; empty where it is created.
        arguments: the others.
        folder: of the run: what the store does not take waits there.
    """

    store: Store
    function_name: str
    run_id: str
    arguments: tuple[Any, ...]
    folder: str


class StartOfRun(NamedTuple):
    """What is known of a run before it trains.

    Attributes:
        name: its name.
        tags: all of them, up to then.
        parent: the multirun that it belongs to.
        start: when it began, milliseconds since 1970.
        parameters: its settings.
        datasets: a name for what it reads, as told to :func:`gradclip.tracking.backend.bulk.remember_datasets`.
        folder: where its files are.
    """

    name: str
    tags: dict[str, str]
    parent: Parent | None
    start: int
    parameters: dict[str, str]
    datasets: str
    folder: str


class StartedRun(NamedTuple):
    """A run that is in the store, or waits for it.

    Attributes:
        run_id: its id.
        artifact_uri: where its files belong; None where the store did not take all that it began with at once.
    """

    run_id: str
    artifact_uri: str | None


class EndOfRun(NamedTuple):
    """What is known of a run once it is over.

    Attributes:
        end: when its training ended, milliseconds since 1970.
        timestamp: of its points; SQLite is quickest where it is later than that of the run before.
        curves: by metric, of which nothing is in the store yet.
        summary: its last numbers.
        tags: which say how it ended; new ones only.
        folder: where its files are.
    """

    end: int
    timestamp: int
    curves: "dict[str, Curve]"
    summary: dict[str, float]
    tags: dict[str, str]
    folder: str


class ModelFiles(NamedTuple):
    """What a stored model is made of; see :mod:`gradclip.training.predictor`."""

    code: str
    package: str
    artifacts: dict[str, str]
    requirements: list[str]
    example: "pd.DataFrame | NDArray[np.float32]"
    prediction: "pd.DataFrame | NDArray[Any]"


class Dataset(NamedTuple):
    """What a run read: rows, or examples that are made on the fly and have no frame."""

    name: str
    source: str
    target: str
    context: str
    frame: "pd.DataFrame | None"
