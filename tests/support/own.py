"""Modules and data as a user of either Lightning package writes them."""

import importlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Training:
    """A module with dropout, an epoch-wise schedule and metrics of every kind."""

    def __init__(self, width=4, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1))
        self.lr = lr

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def on_train_epoch_end(self):
        self.log("twice the epoch", 2.0 * self.current_epoch)

    def loss(self, batch):
        inputs, target = batch
        return (self.network(inputs) - target).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]


class TrainingBatches:
    """Training data that torch's global random generator shuffles."""

    num_classes = 2

    def __init__(self, rows=60, classes=False):
        super().__init__()
        self.rows, self.classes = rows, classes

    def setup(self, stage):
        inputs = torch.randn(self.rows, 3, generator=torch.Generator().manual_seed(1))
        target = inputs.sum(dim=1, keepdim=True)
        self.examples = TensorDataset(inputs, (target[:, 0] > 0).long() if self.classes else target)

    def train_dataloader(self):
        return DataLoader(self.examples, batch_size=10, shuffle=True)


class Batches(TrainingBatches):
    """Training and validation data."""

    def val_dataloader(self):
        return DataLoader(self.examples, batch_size=20)


class WithoutValidation(TrainingBatches):
    """Training and test data; the target of test data is larger, and only the test stage prepares them."""

    def setup(self, stage):
        super().setup(stage)
        if stage == "test":
            inputs, target = self.examples.tensors
            self.tested = TensorDataset(inputs, target + 100)

    def test_dataloader(self):
        return DataLoader(self.tested, batch_size=20)


class ThreeSplits(Batches, WithoutValidation):
    """Training, validation and test data."""


class Begun:
    """A callback that records which callbacks run before it."""

    def on_train_start(self, trainer, pl_module):
        self.before = [type(one).__name__ for one in trainer.callbacks[: trainer.callbacks.index(self)]]


class Silent(Training):
    """A module that logs nothing."""

    def log(self, *arguments, **keywords):
        return


class Several(Training):
    """A module that logs two validation metrics, but no validation loss."""

    def validation_step(self, batch, batch_idx):
        self.log_dict({"error": self.loss(batch), "share": 0.5})


class SameName(Several):
    """A module that logs one of its validation metrics in training, too."""

    def training_step(self, batch, batch_idx):
        self.log("error", 0.0)
        return super().training_step(batch, batch_idx)


class ByHand(Training):
    """A module with manual optimization and an optimizer for each of two parameters."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD([parameter], lr=1e-4) for parameter in [*self.parameters()][:2]]

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            self.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


class WithoutStep:
    """A module without training_step."""


class WithoutBatches:
    """A data module without train_dataloader."""


class WithData(Training, Batches):
    """A module with its own data."""


def __getattr__(name):
    """Return a class for one package: ``OldTraining`` for pytorch_lightning, ``NewTraining`` for lightning.pytorch."""
    package = {"Old": "pytorch_lightning", "New": "lightning.pytorch"}.get(name[:3])
    part = globals().get(name[3:])
    if package is None or part is None:
        raise AttributeError(name)
    lightning = importlib.import_module(package)
    data = TrainingBatches, Batches, WithoutValidation, ThreeSplits, WithoutBatches
    bases = {Begun: lightning.Callback} | dict.fromkeys(data, lightning.LightningDataModule)
    base = bases.get(part, lightning.LightningModule)
    globals()[name] = type(name, (part, base), {"__module__": __name__})
    return globals()[name]
