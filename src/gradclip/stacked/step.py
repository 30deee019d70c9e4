"""One optimizer step of all replicas. Read :meth:`StackedOptimizerStep.__call__` first."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradclip.config.schema import TrainConfig
from gradclip.stacked.batches import StackedBatches
from gradclip.stacked.clipping import Clipped, StackedClipper
from gradclip.stacked.measurements import StackedStep
from gradclip.stacked.optimizers import OPTIMIZERS, init_optimizer_state
from gradclip.stacked.state import TrainState, varying_values


def initial_state(configs: Sequence[TrainConfig], clipper: StackedClipper) -> TrainState:
    """Return the state of all replicas before the first step."""
    network, options = clipper.network, clipper.network.options
    parameters = network.initial_parameters()
    settings = [config.parts.optimizer.model_dump(exclude={"name", "betas"}) for config in configs]
    varying = varying_values(settings, options)
    return TrainState(
        ids=torch.arange(len(configs)),
        step=torch.zeros(1, dtype=torch.int64, device=options.device),
        parameters=parameters,
        constants=network.constants(),
        optimizer_state=init_optimizer_state(configs[0].parts.optimizer.name, parameters),
        optimizer_settings={path: values.to(options.dtype)[:, None] for path, values in varying.items()},
        clipper_state=clipper.init(network.views(parameters)),
        clipper_settings=clipper.varying,
    )


class StackedOptimizerStep:
    """Forward and backward pass, clipping and update of one step, with operations on the device only.

    It changes the state in place, reads no value from a GPU, and has shapes that depend only on those of the batches.
    Therefore it can be captured as a CUDA graph.

    Args:
        config: the settings that all replicas share.
        clipper: the stacked clipper, with the stacked network.
        state: state of the replicas.
        batches: batches of all replicas.
        factors: factor on the learning rate at each step, ``[steps]``.
    """

    def __init__(
        self, config: TrainConfig, clipper: StackedClipper, state: TrainState, batches: StackedBatches, factors: Tensor
    ) -> None:
        self.clipper, self.state, self.factors = clipper, state, factors
        self._tensors_per_batch, self._read = batches.tensors_per_batch, batches.reader(state.ids)
        self._accumulated = config.trainer.accumulate_grad_batches
        self._take_step, _ = OPTIMIZERS[config.parts.optimizer.name]
        self._settings = config.parts.optimizer.model_dump(exclude={"name"})
        self._settings |= {str(path[0]): values for path, values in state.optimizer_settings.items()}

    def __call__(self, *tensors: Tensor) -> StackedStep:
        """Take the step with the tensors of its batches, one batch after the other; return the tensors to measure."""
        gradients, losses, max_abs = self._gradients(tensors)
        clipped = self._clip(gradients)
        self._update(clipped)
        self.state.step.add_(1)
        skipped = torch.zeros_like(losses) if clipped.skipped is None else clipped.skipped.to(losses.dtype)
        scalars = torch.stack([losses, *max_abs.to(losses.dtype), skipped])
        return StackedStep(
            scalars, gradients, clipped.gradients if clipped.coefficients is None else clipped.coefficients
        )

    def _gradients(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradients, losses and the largest magnitudes of inputs and targets, over all batches of the step."""
        size = self._tensors_per_batch
        first, *others = [tensors[start : start + size] for start in range(0, len(tensors), size)]
        gradients, losses, max_abs = self._gradients_of_batch(first)
        for batch in others:
            more = self._gradients_of_batch(batch)
            gradients, losses, max_abs = gradients + more[0], losses + more[1], torch.maximum(max_abs, more[2])
        if self._accumulated > 1:
            gradients, losses = gradients / self._accumulated, losses / (1 + len(others))
        return gradients, losses, max_abs

    def _gradients_of_batch(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        batch = self._read(tensors)
        return *self.clipper.network.gradients(self.state, batch), batch.max_abs

    def _clip(self, gradients: Tensor) -> Clipped:
        clipped = self.clipper(gradients, self.state)
        for key, value in self.state.clipper_state.items():
            value.copy_(clipped.state[key])
        return clipped

    def _update(self, clipped: Clipped) -> None:
        """Update parameters and optimizer state, except for skipped updates."""
        state = self.state
        factor = self.factors.index_select(0, state.step).view(())
        settings = {**self._settings, "lr": self._settings["lr"] * factor}
        changed = [state.parameters, *state.optimizer_state.values()]
        before = [tensor.clone() for tensor in changed] if self.clipper.may_skip else []
        self._take_step(state.parameters, clipped.gradients, state.optimizer_state, settings)
        if clipped.skipped is not None:
            for tensor, old in zip(changed, before, strict=True):
                tensor.copy_(torch.where(clipped.skipped[:, None], old, tensor))
