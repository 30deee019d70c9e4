"""Data module of a table of independent rows, and the base class that it shares with time series."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape, TrainingData
from gradclip.data.checks import check_batch_size, check_not_constant
from gradclip.data.classes import UNSEEN, balanced_weights, numbers_of
from gradclip.data.loaders import Loader, ShuffledBatchSampler, evaluation_loader, shuffled_loader
from gradclip.data.scaling import fit_scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sources import Rows, Table
from gradclip.errors import DataError, check_choice, first_few
from gradclip.formatting import counted
from gradclip.scores import ACCURACY, MSE, Split


class TableData(TrainingData):
    """Base of data modules that take the rows of a table in batches, with one dataset for each split.

    Attributes:
        table: the table.
        sets: the examples of each split.
        batch_size: examples per training batch, over all processes.
        seed: seed of the shuffling.
    """

    table: Table
    sets: Mapping[Split, Dataset[tuple[Tensor, ...]]]
    batch_size: int
    seed: int

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits in order."""
        return tuple(self.sets)

    def frames(self) -> dict[Split, pd.DataFrame | None]:
        """Return the unscaled rows of each split."""
        return self.table.frames()

    @abstractmethod
    def targets(self) -> dict[Split, pd.Series]:
        """Return the unscaled target of each example, by split."""

    @cached_property
    def score_scale(self) -> ScoreScale:
        """The score, and the baseline on each split: that of the mean or of the most frequent class in training."""
        labels, targets = self.table.labels, self.targets()
        if labels is None:
            guess = targets["train"].mean()
            baselines = {split: float(np.mean((target - guess) ** 2)) for split, target in targets.items()}
            return ScoreScale(MSE, baselines["train"], on_split=baselines)
        numbers = {split: numbers_of(target, labels) for split, target in targets.items()}
        frequent = np.bincount(numbers["train"]).argmax()
        baselines = {split: float(np.mean(one == frequent)) for split, one in numbers.items()}
        return ScoreScale(ACCURACY, baselines["train"], on_split=baselines)

    def train_dataloader(self) -> Loader:
        """Return a loader of the training batches; with several processes, of this process's part of each."""
        return shuffled_loader(self.sets["train"], self.batch_size, self.seed, *self.rank_and_world_size)

    def val_dataloader(self) -> list[Loader]:
        """Return one loader for each split, over all its rows."""
        return [evaluation_loader(rows, self.shape.example) for rows in self.sets.values()]

    def training_examples(self, epoch: int, batch: int) -> list[int]:
        """Return the indices of the examples in a training batch, over all processes, in ascending order."""
        examples = len(self.sets["train"])  # type: ignore[arg-type]  # torch's base class has no length
        return list(ShuffledBatchSampler(examples, self.batch_size, self.seed).batch_indices(epoch, batch))


class TabularData(TableData):
    """Scaled batches of a table: inputs ``[rows, inputs]``, and target ``[rows, 1]`` or class numbers ``[rows]``.

    Args:
        table: the table.
        batch_size: rows per training batch, over all processes.
        scale_inputs: scaling of the numeric input columns: ``none``, ``standard`` or ``minmax``.
        scale_target: scaling of a numeric target, with the same choices.
        class_weights: class weights in the loss: ``none``, or ``balanced`` to make all classes count equally.
        seed: seed of the shuffling.

    Attributes:
        class_weights: ``[classes]``; None if all rows count equally.

    Raises:
        DataError: ``batch_size`` is not from 1 to the number of training rows, all training targets are equal, or a
            setting is unknown or does not apply to this kind of target.

    Example:
        >>> from gradclip.data.sources import regression
        >>> inputs, target = next(iter(TabularData(regression()).train_dataloader()))
        >>> inputs.shape, target.shape
        (torch.Size([32, 20]), torch.Size([32, 1]))
    """

    def __init__(
        self,
        table: Table,
        batch_size: int = 32,
        scale_inputs: str = "none",
        scale_target: str = "none",
        class_weights: str = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = check_batch_size(batch_size, len(table.rows["train"]), "rows")
        _check_kind_of_target(table, scale_target, class_weights)
        self.table, self.seed = table, seed
        self.name, self.source, self.notes = table.name, table.source, (*table.notes, *_class_notes(table))
        self.scaling = fit_scaling(table, scale_inputs, scale_target)
        self.class_weights = None
        if table.labels is not None and class_weights == "balanced":
            self.class_weights = balanced_weights(numbers_of(self.targets()["train"], table.labels))
        self.sets: dict[Split, TensorDataset] = {split: self._dataset(rows) for split, rows in table.rows.items()}

    @property
    def shape(self) -> DataShape:
        """Shapes that the network must fit: inputs after one-hot encoding, one output or one for each class."""
        outputs = 1 if self.table.labels is None else len(self.table.labels)
        return DataShape((int(self.sets["train"].tensors[0].shape[1]),), (outputs,))

    @property
    def schema(self) -> DataSchema:
        """Columns, target and scaling, with the first test rows."""
        examples = self.table.features.iloc[self.table.rows["test"][:SCHEMA_EXAMPLES]]
        columns, target, labels = tuple(examples.columns), str(self.table.target.name), self.table.labels
        return DataSchema(examples, columns, target, self.scaling, is_classification=labels is not None, labels=labels)

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the rows in a training batch, over all processes, as row numbers of the file counted from 0."""
        rows = self.table.features.index[self.table.rows["train"][self.training_examples(epoch, batch)]]
        return tuple(sorted(int(row) for row in rows))

    def targets(self) -> dict[Split, pd.Series]:
        """Return the unscaled target of each row, by split."""
        return {split: self.table.target.iloc[rows] for split, rows in self.table.rows.items()}

    def _dataset(self, rows: Rows) -> TensorDataset:
        inputs, target = self.table.features.iloc[rows], self.table.target.iloc[rows]
        if self.table.labels is None:
            targets = torch.tensor(self.scaling.scale_target(target), dtype=torch.float32)
        else:
            targets = torch.from_numpy(numbers_of(target, self.table.labels))
        return TensorDataset(torch.tensor(self.scaling.scale_inputs(inputs), dtype=torch.float32), targets)


def _check_kind_of_target(table: Table, scale_target: str, class_weights: str) -> None:
    """Refuse settings that do not apply to the kind of target, and a constant numeric target."""
    check_choice("data.class_weights", class_weights, ("none", "balanced"), DataError)
    if table.labels is None:
        if class_weights != "none":
            raise DataError(f"data.class_weights: got {class_weights!r}; must be none for a numeric target")
        check_not_constant(table.target.iloc[table.rows["train"]])
    elif scale_target != "none":
        raise DataError(f"data.scale_target: got {scale_target!r}; must be none for a target with classes")


def _class_notes(table: Table) -> list[str]:
    """Return notes about the classes of a table: which there are, and which no training row has."""
    if table.labels is None:
        return []
    notes = [f"the target has {len(table.labels)} classes: {first_few(repr(label) for label in table.labels)}"]
    for split, rows in table.rows.items():
        target = table.target.iloc[rows]
        unseen = target[numbers_of(target, table.labels) == UNSEEN]
        if len(unseen):
            names = first_few(repr(label) for label in unseen.unique())
            wrong = counted(len(unseen), f"{split} row counts", f"{split} rows count")
            notes.append(f"{wrong} as wrong, because no training row has the class: {names}")
    return notes
