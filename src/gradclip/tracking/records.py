"""Plain data that the training process and the tracking process exchange, without MLflow."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradclip.errors import RefusedWriteError

if TYPE_CHECKING:
    import pandas as pd

    from gradclip.config.tracking import TrackingSettings
    from gradclip.tracking.stored_runs import Curve

PARENT_FILE = "parent.json"  # in the folder of a multirun: its parent run and that run's store
MULTIRUN_FILE = "multirun.yaml"  # in the folder of a multirun: Hydra's config
MAIN_FILE = "process.json"  # in the folder of a multirun: the owner tags of its main process
RUN_FILE = "run.json"  # in the folder of a run: the id of this run in the store
SPOOL_FILE = "unsent.jsonl"  # in the folder of a run: writes that the store has not accepted yet
CHECKPOINT_FILE = "checkpoints/last.ckpt"  # in the folder of a run: the checkpoint that it resumes from

MODEL_PARTS = ("description", "weights", "inputs", "target")  # files of a stored model that the predictor reads


def now() -> int:
    """Return the time in milliseconds since 1970, as MLflow stores it."""
    return time.time_ns() // 1_000_000


class Store(NamedTuple):
    """The address of a store, and how persistently to write to it.

    Attributes:
        uri: tracking URI of MLflow.
        artifacts: folder of the artifacts, for a database store.
        experiment: name of the experiment.
        retry_seconds: how long a write is retried before it is spooled.
        spool_if_absent: whether to spool everything if the store cannot be opened.
    """

    uri: str
    artifacts: str
    experiment: str
    retry_seconds: float = 60.0
    spool_if_absent: bool = False

    @classmethod
    def of(cls, settings: "TrackingSettings") -> "Store":
        """Return the store that the settings name."""
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


class ParentNote(NamedTuple):
    """The content of :data:`PARENT_FILE`: the id of the parent run, and its store."""

    run_id: str
    store: Store


class Call(NamedTuple):
    """A write to the store.

    Attributes:
        store: the store.
        operation: name of a method of :class:`gradclip.tracking.operations.Operations`.
        run_id: id of the run; its creation tag until the store has assigned one; empty if the spool creates the run.
        arguments: all other arguments, in order.
        folder: the run's folder, whose spool keeps a write that the store does not accept.
    """

    store: Store
    operation: str
    run_id: str
    arguments: tuple[Any, ...]
    folder: str


class BegunRun(NamedTuple):
    """A run that exists in the store, or whose creation is spooled.

    Attributes:
        experiment_id: None while its creation is spooled.
        run_id: the store's id; the creation tag while its creation is spooled.
        refused: the first write describing it that the store refused for good.
    """

    experiment_id: str | None
    run_id: str
    refused: RefusedWriteError | None = None


class RunStart(NamedTuple):
    """The writes that create and describe a run."""

    create: Call
    config: Call
    parameters: Call
    datasets: Call


class StoppedRun(NamedTuple):
    """A run that stopped early and can be resumed.

    Attributes:
        run_id: its id.
        name: its name.
        folder: where it wrote.
        host: the machine that it ran on.
        config: its resolved config, YAML.
        data_digest: SHA-256 of the file of its table; empty if unknown.
        parameters: names of the parameters that are in the store.
        last_steps: the last step of each metric that is in the store.
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


class DatasetDescription(NamedTuple):
    """Description of a data set as MLflow stores it: a digest of the rows, not the rows."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    context: str


class RunDescription(NamedTuple):
    """What a run stores at its beginning.

    Attributes:
        config: its resolved config, YAML.
        parameters: every setting, as text under its dotted name.
        datasets: the data sets that it reads.
    """

    config: str
    parameters: Mapping[str, str]
    datasets: Sequence[DatasetDescription]


class RunEnd(NamedTuple):
    """The final writes of a run whose curves were not logged while it trained.

    Attributes:
        curves: curves by metric, none of which is in the store yet.
        summary: final metrics.
        tags: new tags, such as the outcome.
        end: when training ended, milliseconds since 1970.
        timestamp: timestamp of the points; SQLite inserts fastest if it is later than the previous run's.
    """

    curves: "dict[str, Curve]"
    summary: dict[str, float]
    tags: dict[str, str]
    end: int
    timestamp: int


class ModelFiles(NamedTuple):
    """The files of a stored model, as :mod:`gradclip.training.model_package` writes them.

    Attributes:
        artifacts: path of each file that the predictor reads, by name.
        example: path of an input example, ``.json`` for rows or ``.npy`` for sequences.
        requirements: packages that the predictor imports, with their versions.
        network: path of the network as ``torch.save`` writes it, for MLflow's torch flavor.
    """

    artifacts: dict[str, str]
    example: str
    requirements: list[str]
    network: str

    @property
    def paths(self) -> list[str]:
        """The paths of all files."""
        return [*self.artifacts.values(), self.example, self.network]


def model_name(run_name: str) -> str:
    """Return the name of a run's model: the run's name, with ``_`` for characters that MLflow refuses.

    Example:
        >>> model_name("norm=1.0 seed=0")
        'norm=1_0 seed=0'
    """
    return re.sub(r"""[/:.%"']""", "_", run_name) or "model"


class Dataset(NamedTuple):
    """Examples that a run reads; ``frame`` is None if they are generated during training."""

    name: str
    source: str
    target: str
    context: str
    frame: "pd.DataFrame | None"
