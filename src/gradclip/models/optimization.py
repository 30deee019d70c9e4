"""Losses, optimizers and learning-rate schedules by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeSchedule = Callable[[Optimizer, int], LRScheduler]


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy of logits ``[rows, ..., classes]`` and classes ``[rows, ...]``, averaged over all of them.

    torch's own wants the classes second, which a network that reads out at every time step has last.

    Example:
        >>> import torch
        >>> float(CrossEntropy()(torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.long)).exp())
        4.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return super().forward(input.movedim(-1, 1), target)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "mse": nn.MSELoss,
    "huber": nn.HuberLoss,
    "mae": nn.L1Loss,
    "cross_entropy": CrossEntropy,
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def make_loss(name: str, **settings: Any) -> nn.Module:
    """Build a loss, averaged over the batch.

    Example:
        >>> make_loss("huber", delta=2.0)
        HuberLoss()
    """
    return LOSSES[name](**settings)


def make_optimizer(name: str, **settings: Any) -> MakeOptimizer:
    """Return a function from parameters to an optimizer.

    Example:
        >>> type(make_optimizer("sgd", lr=0.01)(nn.Linear(2, 1).parameters())).__name__
        'SGD'
    """
    return lambda parameters: OPTIMIZERS[name](parameters, **settings)


def make_schedule(name: str, **settings: Any) -> MakeSchedule | None:
    """Return a function from an optimizer and the total number of steps to a schedule; None where it is constant."""
    if name == "constant":
        return None
    return lambda optimizer, steps: warmup_cosine(optimizer, steps, **settings)


def learning_rate_factors(steps: int, name: str, **settings: Any) -> list[float]:
    """Return what a schedule multiplies the learning rate by, at each of ``steps`` optimizer steps.

    Example:
        >>> factors = learning_rate_factors(4, "warmup_cosine", warmup_fraction=0, final_fraction=0)
        >>> [round(factor, 2) for factor in factors]
        [1.0, 0.85, 0.5, 0.15]
    """
    make = make_schedule(name, **settings)
    if make is None:
        return [1.0] * steps
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, factors = make(optimizer, steps), []
    for _ in range(steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return factors


def warmup_cosine(optimizer: Optimizer, steps: int, warmup_fraction: float, final_fraction: float) -> LRScheduler:
    """Raise the learning rate linearly, then let it fall along half a cosine, step by step.

    Args:
        optimizer: its learning rate is the highest that is reached.
        steps: optimizer steps in all.
        warmup_fraction: share of the steps spent rising.
        final_fraction: learning rate at the end, as a share of the highest.
    """
    warmup = round(steps * warmup_fraction)
    lowest = optimizer.param_groups[0]["lr"] * final_fraction
    fall = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup), eta_min=lowest)
    if warmup == 0:
        return fall
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, fall], milestones=[warmup])
