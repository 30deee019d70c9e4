"""The data module: a table, scaled, in batches."""

from itertools import islice

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from gradclip.data.batches import OrderedBatches, ShuffledBatches
from gradclip.data.scaling import fit_scaling
from gradclip.data.sources import Table
from gradclip.errors import DataError

EVALUATION_BATCH_SIZE = 8192  # large, since no gradients are kept
Loader = DataLoader[tuple[Tensor, ...]]


class TabularData(LightningDataModule):
    """Batches of inputs ``[rows, inputs]`` and target ``[rows, 1]``, both as scaled for training.

    Validation goes over all training rows, then over all test rows.

    Args:
        table: the table.
        batch_size: rows of a training batch, over all processes together.
        scale_inputs: ``none``, ``standard`` or ``minmax``.
        scale_target: the same for the target.
        seed: seed of the order of the batches.

    Raises:
        DataError: there are fewer training rows than a batch has, or none to test.

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
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(table.train_rows) < batch_size:
            raise DataError(f"trainer.batch_size: got {batch_size}; there are {len(table.train_rows)} training rows")
        if len(table.test_rows) == 0:
            raise DataError(f"data.test_fraction: leaves none of {len(table.train_rows)} rows to test")
        self.table, self.batch_size, self.seed = table, batch_size, seed
        self.scaling = fit_scaling(table, scale_inputs, scale_target)
        self.train_set = self._tensors("train")
        self.test_set = self._tensors("test")

    @property
    def in_features(self) -> int:
        """Number of the network's inputs, after one-hot encoding."""
        return int(self.train_set.tensors[0].shape[1])

    def rows_of_batch(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the table's rows, counted from 0, in a training batch over all processes.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """
        order = ShuffledBatches(len(self.train_set), self.batch_size, self.seed)
        order.set_epoch(epoch - 1)
        positions = next(islice(order, batch, None)).tolist()
        return tuple(sorted(int(row) for row in self.table.train_rows[positions]))

    def train_dataloader(self) -> Loader:
        """Shuffled training batches; each process its share."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return _loader(
            self.train_set, ShuffledBatches(len(self.train_set), self.batch_size, self.seed, rank, world_size)
        )

    def val_dataloader(self) -> list[Loader]:
        """All training rows, then all test rows."""
        sets = (self.train_set, self.test_set)
        return [_loader(rows, OrderedBatches(len(rows), EVALUATION_BATCH_SIZE)) for rows in sets]

    def _tensors(self, part: str) -> TensorDataset:
        rows = self.table.train_rows if part == "train" else self.table.test_rows
        return TensorDataset(
            *(torch.tensor(array, dtype=torch.float32) for array in self.scaling.transform(self.table, rows))
        )


def _loader(rows: TensorDataset, batches: ShuffledBatches | OrderedBatches) -> Loader:
    """A loader that takes whole batches by position, with no collating of single rows."""
    return DataLoader(rows, sampler=batches, batch_size=None)
