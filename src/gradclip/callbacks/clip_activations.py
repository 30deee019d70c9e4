"""Clip the derivatives that flow back through a network."""

from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip.errors import ClippingError
from gradclip.models.unrolling import Unrolling


class ClipActivations(Callback):
    """Clip each derivative of the loss with respect to a layer's output to [-c, c], during backward.

    What a layer's output derivative is clipped to is what reaches its weights and all layers before it. A layer is a
    module with parameters of its own. Of a recurrent layer the derivative with respect to every hidden state is
    clipped, at each time step on its way back, so that it cannot grow from step to step; an LSTM's cells are left.
    NaN stays NaN; an infinite derivative becomes the nearer end. Under mixed precision the threshold is scaled as the
    loss is; on several processes it holds for the joined batch.

    Source: Graves 2013, "Generating sequences with recurrent neural networks": 10 for recurrent layers, 100 for the
    output layer.

    Args:
        value: the threshold c of hidden layers, in loss units per activation unit.
        output_value: the same of the last layer.
        layers: pattern of the names of the layers that are clipped.

    Raises:
        ClippingError: on starting to fit, if no layer has such a name.
        ModelError: on starting to fit, if a recurrent layer is bidirectional or projects its states.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(callbacks=[ClipActivations(10.0)], logger=False, enable_checkpointing=False)
    """

    def __init__(self, value: float = 10.0, output_value: float = 100.0, layers: str = "*") -> None:
        self.value, self.output_value, self.layers = value, output_value, layers
        self._handles: list[RemovableHandle | Unrolling] = []
        self._clipped_now: list[Tensor] = []
        self._clipped_steps: list[Tensor] = []
        self._scale = 1.0

    @property
    def clip_fraction(self) -> float:
        """Share of the optimizer steps in which a derivative was clipped; NaN before the first."""
        return float(torch.stack(self._clipped_steps).double().mean()) if self._clipped_steps else float("nan")

    def check(self, module: nn.Module) -> None:
        """Refuse a pattern that no layer of the module fits.

        Raises:
            ClippingError: with the names that there are.
        """
        self._choose(module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hook into the layers."""
        self._handles = [self._hook_into(layer, limit) for layer, limit in self._choose(pl_module)]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """See by how much the loss is scaled."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._scale = (scaler.get_scale() if scaler else 1.0) * trainer.world_size

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note whether anything was clipped since the last step."""
        if self._clipped_now:
            self._clipped_steps.append(torch.stack(self._clipped_now).any())
            self._clipped_now = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the layers."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of the layers."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """Return which steps were clipped, for a checkpoint."""
        return {"clipped_steps": list(self._clipped_steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take those steps from a checkpoint."""
        self._clipped_steps = state_dict["clipped_steps"]

    def _choose(self, module: nn.Module) -> list[tuple[nn.Module, float]]:
        layers = {name: layer for name, layer in module.named_modules() if _has_parameters(layer)}
        limits = dict.fromkeys(layers, self.value) | dict.fromkeys(list(layers)[-1:], self.output_value)
        chosen = [(layers[name], limits[name]) for name in layers if fnmatchcase(name, self.layers)]
        if not chosen:
            raise ClippingError(f"clip.layers: got {self.layers!r}; no layer has such a name, of {', '.join(layers)}")
        return chosen

    def _hook_into(self, layer: nn.Module, limit: float) -> RemovableHandle | Unrolling:
        if isinstance(layer, nn.RNNBase):
            return Unrolling(layer, lambda *state: self._watch(limit, state[-1]))
        return layer.register_forward_hook(partial(self._watch_output, limit))

    def _watch_output(self, limit: float, layer: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            self._watch(limit, tensor)

    def _watch(self, limit: float, tensor: Any) -> None:
        """Have the derivative with respect to a tensor clipped once it is known."""
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            tensor.register_hook(partial(self._clamp, limit))  # type: ignore[no-untyped-call]

    def _clamp(self, limit: float, derivative: Tensor) -> Tensor:
        scaled = limit * self._scale
        self._clipped_now.append((derivative.abs() > scaled).any())
        return derivative.clamp(-scaled, scaled)

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
