"""The callback that clips gradients with respect to layer outputs, during backward."""

from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip.callbacks.trainer_checks import loss_scaler
from gradclip.clipping.value import as_bound
from gradclip.errors import ClippingError, did_you_mean, first_few
from gradclip.models.unrolling import Unrolling
from gradclip.ranges import POSITIVE


class ClipActivations(Callback):
    """Clip each derivative of the loss with respect to a layer's output to [-c, c], during backward.

    The clipped derivative propagates to the layer's own weights and to all earlier layers. A layer is a module with its
    own parameters. In a recurrent layer, the derivative with respect to the hidden state is clipped at every time step,
    so that it cannot grow from one time step to the next; the cell state of an LSTM is not clipped. NaN stays NaN; an
    infinite derivative becomes c or -c. In mixed precision, the threshold is multiplied by the loss scale; if float16
    cannot represent the product, larger derivatives are infinite, and the scaler skips the update. With several
    processes, the threshold applies to the joined batch.

    Source: Graves 2013, "Generating sequences with recurrent neural networks": 10 for recurrent layers, 100 for the
    output layer.

    Args:
        value: threshold c for all layers but the last, in loss units per unit of activation.
        output_value: threshold for the last layer, in the same unit.
        layers: ``fnmatch`` pattern for the names of the layers to clip.

    Raises:
        ClippingError: a threshold is not above 0, or ``layers`` is not text; at the start of ``fit``, if no layer
            matches the pattern.
        ModelError: at the start of ``fit``, if a recurrent layer is bidirectional or has projections.
        TrainerError: at the start of ``fit``, if a precision plugin scales the loss with a scaler that is not torch's.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(callbacks=[ClipActivations(10.0)], logger=False, enable_checkpointing=False)
    """

    def __init__(self, value: float = 10.0, output_value: float = 100.0, layers: str = "*") -> None:
        if not isinstance(layers, str):
            raise ClippingError(f"layers: got {layers!r}; must be a name pattern, such as 'head.*'")
        self.value, self.output_value = POSITIVE.check("value", value), POSITIVE.check("output_value", output_value)
        self.layers = layers
        self._handles: list[RemovableHandle | Unrolling] = []
        self._scale: float | Tensor = 1.0
        self._reset()

    def _reset(self) -> None:
        self._clipped_in_step: list[Tensor] = []
        self._clipped_steps = torch.zeros((), dtype=torch.int64)  # counted on the device of the derivatives
        self._steps = 0

    @property
    def clip_fraction(self) -> float:
        """Fraction of the latest ``fit``'s optimizer steps in which a derivative was clipped; NaN before the first."""
        return int(self._clipped_steps) / self._steps if self._steps else float("nan")

    def check(self, module: nn.Module) -> None:
        """Check that the pattern matches a layer of the module.

        Raises:
            ClippingError: no layer matches.
        """
        self._find_layers(module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the counts of an earlier training run."""
        if stage == "fit":
            self._reset()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register the hooks."""
        self._scaler = loss_scaler(trainer, "ClipActivations")
        self._handles = [self._register_hook(layer, limit) for layer, limit in self._find_layers(pl_module)]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Compute the factor on the thresholds: the loss scale, which stays on the device, times the processes."""
        self._scale = float(trainer.world_size)
        if self._scaler is not None:
            self._scale = self._scaler.scale(torch.full((), self._scale, device=loss.device))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Count the step, and whether a derivative was clipped since the last step."""
        if self._clipped_in_step:
            self._clipped_steps = self._clipped_steps + torch.stack(self._clipped_in_step).any()
            self._steps += 1
            self._clipped_in_step = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the hooks."""
        self._remove_hooks()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        self._remove_hooks()

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps there were, and in how many of them a derivative was clipped."""
        return {"steps": self._steps, "clipped_steps": self._clipped_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the counts of a checkpoint."""
        self._steps, self._clipped_steps = state_dict["steps"], state_dict["clipped_steps"]

    def _find_layers(self, module: nn.Module) -> list[tuple[nn.Module, float]]:
        """Return the layers to clip with their thresholds."""
        layers = {name: layer for name, layer in module.named_modules() if list(layer.parameters(recurse=False))}
        limits = dict.fromkeys(layers, self.value) | dict.fromkeys(list(layers)[-1:], self.output_value)
        found = [(layers[name], limits[name]) for name in layers if fnmatchcase(name, self.layers)]
        if not found:
            hint = did_you_mean(self.layers, layers)
            raise ClippingError(
                f"clip.layers: got {self.layers!r}{hint}; matches none of the layers {first_few(layers)}"
            )
        return found

    def _register_hook(self, layer: nn.Module, limit: float) -> RemovableHandle | Unrolling:
        if isinstance(layer, nn.RNNBase):
            return Unrolling(layer, lambda _layer, _step, hidden: self._clip(limit, hidden))
        return layer.register_forward_hook(partial(self._clip_output, limit))

    def _clip_output(self, limit: float, layer: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            self._clip(limit, tensor)

    def _clip(self, limit: float, tensor: Any) -> None:
        """Clip the derivative with respect to a tensor once backward has computed it."""
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            tensor.register_hook(partial(self._clamp, limit))  # type: ignore[no-untyped-call]

    def _clamp(self, limit: float, derivative: Tensor) -> Tensor:
        bound = as_bound(limit * self._scale, derivative)
        self._clipped_in_step.append((derivative.abs() > bound).any())
        return derivative.clamp(-bound, bound)

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
