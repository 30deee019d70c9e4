"""A user-defined data module as data for gradclip's networks, if the shapes of its batches permit."""

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from gradclip.callbacks.trainer_checks import overrides
from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape, TrainingData
from gradclip.data.score_scale import ScoreScale
from gradclip.errors import DataError, first_line
from gradclip.scores import ACCURACY, MSE, Split

SCORED: Final[Mapping[Split, str]] = {"validation": "val_dataloader", "test": "test_dataloader"}  # hook of each split


class OwnData(TrainingData):
    """Batches of a user-defined data module, whose columns, units and baseline are not known.

    Args:
        own: the data module.
        name: dotted path of its class.
        is_classification: whether targets are classes; the data module then needs an attribute ``num_classes``.
    """

    def __init__(self, own: LightningDataModule, name: str, is_classification: bool) -> None:
        super().__init__()
        self.own, self.name, self.source = own, name.rpartition(".")[2], name
        self.is_classification = is_classification

    @cached_property
    def first_batch(self) -> tuple[Tensor, Tensor]:
        """The first training batch: inputs and target.

        Raises:
            DataError: the batch cannot be loaded, or gradclip's networks cannot train on it.
        """
        if self.splits == ("train",):
            needed = " or ".join(SCORED.values())
            raise self._error(f"it has no {needed}, one of which is needed to score a network")
        try:
            with torch.random.fork_rng():
                self.own.prepare_data()
                self.setup("fit")
                batch, loaders = next(iter(self.own.train_dataloader())), self.scored_loaders()[1:]
        except Exception as error:  # a user's class may raise anything
            raise self._error(f"its batches cannot be loaded: {first_line(error)}") from error
        for split, loader in zip(self.splits[1:], loaders, strict=True):
            if isinstance(loader, list | tuple):
                raise self._error(f"its {SCORED[split]} returns several loaders; must be one")
        if not (isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(one, Tensor) for one in batch)):
            raise self._error("gradclip's networks need batches of two tensors, inputs and target")
        inputs, target = batch
        self._check_types(inputs, target)
        return inputs, target

    def _check_types(self, inputs: Tensor, target: Tensor) -> None:
        if self.is_classification == target.is_floating_point() or not inputs.is_floating_point():
            needed = "integer classes" if self.is_classification else "floats (for classes, set loss=cross_entropy)"
            types = f"its inputs are {inputs.dtype} and its target {target.dtype}"
            raise self._error(f"{types}; inputs must be floats, and the target {needed}")
        if not self.is_classification and target.ndim < 2:
            raise self._error(f"its target has the shape {list(target.shape)}; must be [rows, outputs]")

    def _error(self, what: str) -> DataError:
        return DataError(f"data._target_: got {self.source!r}; {what}")

    @property
    def shape(self) -> DataShape:
        """Shapes that the network has to fit, from the first batch.

        Raises:
            DataError: see :attr:`first_batch`; or the number of classes is not known.
        """
        inputs, target = self.first_batch
        if not self.is_classification:
            return DataShape(tuple(inputs.shape[1:]), tuple(target.shape[1:]))
        classes = getattr(self.own, "num_classes", None)
        if not isinstance(classes, int):
            raise self._error("loss=cross_entropy needs its integer num_classes")
        return DataShape(tuple(inputs.shape[1:]), (*target.shape[1:], classes))

    @property
    def score_scale(self) -> ScoreScale:
        """The score of the task; no baseline is known."""
        return ScoreScale(ACCURACY if self.is_classification else MSE)

    @property
    def schema(self) -> DataSchema:
        """The schema, with a few inputs of the first batch as examples; nothing is scaled."""
        examples = self.first_batch[0][:SCHEMA_EXAMPLES].numpy().astype(np.float32)
        return DataSchema(examples, (), "target", None, self.is_classification)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits in order: ``train``, and those whose loader the data module has."""
        return ("train", *(split for split, hook in SCORED.items() if overrides(self.own, hook)))

    def setup(self, stage: str) -> None:
        """Set up the data module, and also its test examples if it has any, since they are scored in every epoch.

        The test stage comes first: a data module may split its examples anew in each call, and then all loaders must
        come from the last call.
        """
        if "test" in self.splits:
            self.own.setup("test")
        self.own.setup(stage)

    def scored_loaders(self) -> list[Any]:
        """Return the loaders that gradclip's modules score, one for each split."""
        warnings.filterwarnings("ignore", ".*sampler has shuffling enabled.*")  # the training loader may shuffle
        return [self.own.train_dataloader(), *(getattr(self.own, SCORED[split])() for split in self.splits[1:])]
