"""Losses, optimizers and learning-rate schedules by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
ScheduleFactory = Callable[[Optimizer, int], LRScheduler]  # from an optimizer and its total number of steps


class CrossEntropy(nn.CrossEntropyLoss):
    """Mean cross-entropy of logits ``[rows, ..., classes]`` and class indices ``[rows, ...]``.

    torch's own loss expects the classes in the second dimension; here they are last, as recurrent networks return them.

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


class MuonAdamW(Optimizer):
    """One optimizer that applies Muon to matrices, and AdamW to other parameters, which Muon does not support.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM training"), so that
    both share the learning rate and the weight decay. Otherwise AdamW has torch's defaults. Requires torch 2.9.

    Args:
        parameters: the parameters, of any shape.
        lr: learning rate of both optimizers.
        weight_decay: decoupled weight decay of both optimizers.
        **settings: further arguments of :class:`torch.optim.Muon`.

    Example:
        >>> optimizer = MuonAdamW(nn.Linear(3, 2).parameters(), lr=0.01, weight_decay=0.0)
        >>> [[tuple(parameter.shape) for parameter in group["params"]] for group in optimizer.param_groups]
        [[(2, 3)], [(2,)]]
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, **settings: Any) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in parameters:
            (matrices if parameter.ndim == 2 else others).append(parameter)
        shared: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        self._parts = (
            torch.optim.Muon([{"params": matrices}], adjust_lr_fn="match_rms_adamw", **shared, **settings),
            AdamW([{"params": others}], **shared),
        )
        super().__init__([group for part in self._parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of both optimizers, and return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state  # load_state_dict replaces them
            part.step()
        return loss


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "muon": MuonAdamW,
}


def build_loss(name: str, **settings: Any) -> nn.Module:
    """Build a loss by its key in ``LOSSES``, with the arguments of its class.

    Example:
        >>> build_loss("huber", delta=2.0)
        HuberLoss()
    """
    return LOSSES[name](**settings)


def optimizer_factory(name: str, **settings: Any) -> OptimizerFactory:
    """Return a function that builds an optimizer, by its key in ``OPTIMIZERS``, for given parameters.

    Example:
        >>> type(optimizer_factory("sgd", lr=0.01)(nn.Linear(2, 1).parameters())).__name__
        'SGD'
    """
    return lambda parameters: OPTIMIZERS[name](parameters, **settings)


def schedule_factory(name: str, **settings: Any) -> ScheduleFactory | None:
    """Return a function that builds a learning-rate schedule, ``warmup_cosine``; None for ``constant``."""
    if name == "constant":
        return None
    return lambda optimizer, steps: warmup_cosine(optimizer, steps, **settings)


def learning_rate_factors(steps: int, name: str, **settings: Any) -> list[float]:
    """Return the factor on the learning rate at each optimizer step.

    Args:
        steps: total number of optimizer steps.
        name: ``constant`` or ``warmup_cosine``.
        **settings: arguments of the schedule.

    Example:
        >>> factors = learning_rate_factors(4, "warmup_cosine", warmup_fraction=0, final_fraction=0)
        >>> [round(factor, 2) for factor in factors]
        [1.0, 0.85, 0.5, 0.15]
    """
    factory = schedule_factory(name, **settings)
    if factory is None:
        return [1.0] * steps
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, factors = factory(optimizer, steps), []
    for _ in range(steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return factors


def warmup_cosine(optimizer: Optimizer, steps: int, warmup_fraction: float, final_fraction: float) -> LRScheduler:
    """Return a schedule with linear warm-up and cosine decay, to be stepped at every optimizer step.

    Args:
        optimizer: the optimizer; its learning rate is the highest of the schedule.
        steps: total number of optimizer steps.
        warmup_fraction: fraction of the steps in the warm-up.
        final_fraction: learning rate after the last step, as a fraction of the highest.
    """
    warmup = round(steps * warmup_fraction)
    lowest = optimizer.param_groups[0]["lr"] * final_fraction
    decay = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup), eta_min=lowest)
    if warmup == 0:
        return decay
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, decay], milestones=[warmup])
