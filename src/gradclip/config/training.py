"""Settings of the options under ``conf/loss``, ``conf/optimizer``, ``conf/schedule`` and ``conf/trainer``."""

from importlib.metadata import version
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gradclip.config.base import Count, FractionOrZero, NoEffect, PositiveNumber, Settings, Size
from gradclip.config.limits import LARGEST_RATE, MAX_INTEGER

LearningRate = Annotated[float, Field(gt=0, le=LARGEST_RATE, allow_inf_nan=False)]
WeightDecay = Annotated[float, Field(ge=0, le=LARGEST_RATE, allow_inf_nan=False)]
DecayRate = FractionOrZero  # fraction that a moving average keeps: momentum, betas, alpha
TORCH_WITH_MUON = (2, 9)


class PlainLoss(Settings):
    """A loss without further settings."""

    name: Literal["auto", "mse", "mae", "cross_entropy"]


class HuberLoss(Settings):
    """The Huber loss: squared below ``delta``, linear above it."""

    name: Literal["huber"]
    delta: PositiveNumber


class SGDOptimizer(Settings):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    lr: LearningRate
    momentum: DecayRate
    nesterov: bool
    weight_decay: WeightDecay

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGDOptimizer":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: got True; needs optimizer.momentum above 0")
        return self


class AdamOptimizer(Settings):
    """Adam or AdamW."""

    name: Literal["adam", "adamw"]
    lr: LearningRate
    betas: tuple[DecayRate, DecayRate]
    eps: PositiveNumber
    weight_decay: WeightDecay


class RMSpropOptimizer(Settings):
    """RMSprop."""

    name: Literal["rmsprop"]
    lr: LearningRate
    alpha: DecayRate
    momentum: DecayRate
    eps: PositiveNumber
    weight_decay: WeightDecay


class MuonOptimizer(Settings):
    """Muon, available in torch 2.9 and later."""

    name: Literal["muon"]
    lr: LearningRate
    momentum: DecayRate
    nesterov: bool
    weight_decay: WeightDecay

    @model_validator(mode="after")
    def _torch_has_muon(self) -> "MuonOptimizer":
        installed = version("torch")
        if tuple(map(int, installed.split(".")[:2])) < TORCH_WITH_MUON:
            raise ValueError(
                f"name: got 'muon'; needs torch {'.'.join(map(str, TORCH_WITH_MUON))} or later, not {installed}"
            )
        return self


class ConstantSchedule(Settings):
    """A constant learning rate."""

    name: Literal["constant"]


class WarmupCosineSchedule(Settings):
    """A learning rate that rises linearly and then falls along a cosine."""

    name: Literal["warmup_cosine"]
    warmup_fraction: FractionOrZero
    final_fraction: Annotated[float, Field(ge=0, le=1)]


class TrainerSettings(Settings):
    """Duration, hardware and precision of a training run."""

    accelerator: Literal["cpu", "gpu", "auto"]
    devices: Annotated[int, Field(ge=1, le=1024)]
    strategy: Literal["auto", "ddp"]
    threads: Annotated[Annotated[int, Field(ge=1, le=1024)] | None, NoEffect]
    max_epochs: Count
    batch_size: Size
    precision: Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]
    accumulate_grad_batches: Count
    steps_after_divergence: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None
    stop_when_solved: bool
    progress_bar: Annotated[bool, NoEffect]

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "TrainerSettings":
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise ValueError("precision: got '16-mixed'; on a CPU use '32-true' or 'bf16-mixed'")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size: got {self.batch_size}; must be a multiple of devices ({self.devices})")
        if self.devices > 1 and self.strategy == "auto":
            raise ValueError(f"devices: got {self.devices}; several devices need trainer.strategy=ddp, or trainer=ddp")
        return self


LossSettings = PlainLoss | HuberLoss
OptimizerSettings = SGDOptimizer | AdamOptimizer | RMSpropOptimizer | MuonOptimizer
ScheduleSettings = ConstantSchedule | WarmupCosineSchedule
