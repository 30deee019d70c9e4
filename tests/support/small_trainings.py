"""Small training runs as users write them, for either Lightning package."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.support.trainers import SILENT

ONE_EPOCH = SILENT | {"max_epochs": 1}


class Training:
    """A network of two layers; each test overrides the part that it is about."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        inputs, target = batch
        return (self.head(self.body(inputs).tanh()) - target).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def make(lightning, training=Training, *arguments):
    """Return a training run as a LightningModule of the given package."""
    return type(training.__name__, (training, lightning.LightningModule), {})(*arguments)


def batches(count=8, size=2):
    generator = torch.Generator().manual_seed(1)
    inputs, target = (torch.randn(count * size, width, generator=generator) for width in (3, 1))
    return DataLoader(TensorDataset(inputs, target), batch_size=size)


def fit(lightning, module, *callbacks, data=None, ckpt_path=None, **settings):
    """Train for one epoch of eight batches and return the Trainer."""
    trainer = lightning.Trainer(**ONE_EPOCH | settings, callbacks=list(callbacks))
    trainer.fit(module, data or batches(), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]
