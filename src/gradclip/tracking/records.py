"""Plain data between the training process and the tracking process: the store, points, calls; no MLflow."""

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from gradclip.config.tracking import TrackingSettings
    from gradclip.tracking.stored_runs import Curve

PARENT_FILE = "parent.json"  # in the folder of a multirun: its parent run and the store that it is in
MAIN_FILE = "process.json"  # in the folder of a multirun: the owner tags of its main process
RUN_FILE = "run.json"  # in the folder of a run: which run of the store it belongs to
SPOOL_FILE = "unsent.jsonl"  # in the folder of a run: writes that the store has not taken yet
CHECKPOINT_FILE = "checkpoints/last.ckpt"  # in the folder of a run: what it resumes from


def now() -> int:
    """Milliseconds since 1970, the time stamp of MLflow."""
    return time.time_ns() // 1_000_000


class Store(NamedTuple):
    """The address of a store, and how persistently to write to it.

    Attributes:
        uri: tracking URI of MLflow.
        artifacts: folder of the artifacts, for a database store.
        experiment: name of the experiment.
        retry_seconds: how long a write is retried before it is spooled.
        spool_if_absent: whether everything is spooled where the store cannot be opened.
    """

    uri: str
    artifacts: str
    experiment: str
    retry_seconds: float = 60.0
    spool_if_absent: bool = False

    @classmethod
    def of(cls, settings: "TrackingSettings") -> "Store":
        """The store that the settings name."""
        assert settings.uri is not None
        address = (settings.uri, settings.artifacts, settings.experiment)
        return cls(*address, settings.retry_seconds, settings.spool_if_absent)


class Parent(NamedTuple):
    """The parent run of a multirun.

    Attributes:
        folder: where the jobs of the multirun write.
        name: name of the parent run.
        tags: its tags.
    """

    folder: str
    name: str
    tags: dict[str, str]


class Call(NamedTuple):
    """A write to the store.

    Attributes:
        store: which store.
        operation: name of a method of :class:`gradclip.tracking.operations.Operations`.
        run_id: the run that is written; empty where it is created. A creation tag until the store has given an id.
        arguments: all other arguments, in order.
        folder: of the run; a write that the store does not take waits there.
    """

    store: Store
    operation: str
    run_id: str
    arguments: tuple[Any, ...]
    folder: str


class BegunRun(NamedTuple):
    """A run that the store has, or whose creation is spooled.

    Attributes:
        experiment_id: None while its creation is spooled.
        run_id: the store's id; the creation tag while its creation is spooled.
    """

    experiment_id: str | None
    run_id: str


class StoppedRun(NamedTuple):
    """A run that stopped early and can be resumed.

    Attributes:
        run_id: its id.
        name: its name.
        folder: where it wrote.
        host: the machine that it ran on.
        config: its resolved config, YAML.
        data_digest: SHA-256 of the file that its table was read from; empty where none is known.
        parameters: names of the parameters that are in the store.
        last_steps: of each metric, the last step that is in the store.
    """

    run_id: str
    name: str
    folder: str
    host: str
    config: str
    data_digest: str
    parameters: frozenset[str]
    last_steps: dict[str, int]


class Point(NamedTuple):
    """One value of a metric; ``timestamp`` in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


class RunEnd(NamedTuple):
    """All that is written at the end of a run whose curves were not logged while it trained.

    Attributes:
        curves: by metric; nothing of them is in the store yet.
        summary: final metrics.
        tags: new tags, such as the outcome.
        end: when training ended, milliseconds since 1970.
        timestamp: of the points; SQLite inserts quickest where it is later than that of the run before.
    """

    curves: "dict[str, Curve]"
    summary: dict[str, float]
    tags: dict[str, str]
    end: int
    timestamp: int


def files_of_end(call: Call) -> Call:
    """The write that stores the files of a run that is completed; the call names store, run and folder."""
    return call._replace(operation="write_run_files", arguments=(call.folder,))


def numbers_of_end(call: Call, end: RunEnd) -> list[Call]:
    """The writes that complete a run after its files, one by one.

    Args:
        call: names store, run and folder.
        end: what is written.
    """
    points = [
        Point(key, value, end.timestamp, step)
        for key, curve in end.curves.items()
        for step, value in zip(curve.step.tolist(), curve.value.tolist(), strict=True)
    ]
    writes = {
        "write_points": (points,),
        "write_summary": (end.summary, end.tags, end.end),
        "end_run": ("FINISHED", end.end),
    }
    return [call._replace(operation=name, arguments=arguments) for name, arguments in writes.items()]


class ModelFiles(NamedTuple):
    """The files of a stored model, as :mod:`gradclip.training.model_package` writes them.

    Attributes:
        artifacts: path of each file that the predictor reads, by name.
        example: path of an input example, ``.parquet`` for rows or ``.npy`` for sequences.
        requirements: packages that the predictor imports, with their versions.
        network: path of the network as ``torch.save`` writes it, which MLflow's flavour for torch loads; empty in what
            version 0.1 left to be sent.
    """

    artifacts: dict[str, str]
    example: str
    requirements: list[str]
    network: str = ""


def model_name(run_name: str) -> str:
    """The name of a run's model: that of the run, without the characters that MLflow refuses in it.

    Example:
        >>> model_name("norm=1.0 seed=0")
        'norm=1_0 seed=0'
    """
    return re.sub(r"""[/:.%"']""", "_", run_name) or "model"


class Dataset(NamedTuple):
    """Examples that a run reads; ``frame`` is None where they are generated during training."""

    name: str
    source: str
    target: str
    context: str
    frame: "pd.DataFrame | None"


class DatasetDescription(NamedTuple):
    """What MLflow stores of a data set: no rows, but a digest of them."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    context: str
