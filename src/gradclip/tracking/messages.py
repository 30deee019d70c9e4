"""What the training process tells the tracking process; plain data, no MLflow."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

PARENT_FILE = "parent.json"  # in the folder of a multirun: its parent run and the store that it is in


class Store(NamedTuple):
    """Where runs are kept.

    Attributes:
        uri: tracking URI of MLflow.
        artifacts: folder of the artifacts, for a database store.
        experiment: name of the experiment.
    """

    uri: str
    artifacts: str
    experiment: str


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


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp: int
    step: int


class ModelFiles(NamedTuple):
    """What a stored model is made of; see :mod:`gradclip.serving`."""

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
