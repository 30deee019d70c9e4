"""Outputs, losses and gradients of stacked networks, with one architecture and separate weights for each replica."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradclip.errors import StackingError, first_line
from gradclip.models.module import SupervisedModule
from gradclip.models.unrolling import Unrolling, can_unroll
from gradclip.stacked.batches import Batch
from gradclip.stacked.state import TensorOptions, TrainState, distinct
from gradclip.telemetry.hidden_states import RecurrentLayer

StateHook = Callable[[RecurrentLayer, Tensor], Tensor]  # called with a hidden state; returns its replacement
GRADIENT_TOLERANCE = 1e-3  # difference of stacked and ordinary gradients, as a fraction of the largest element


class StackedNetwork:
    """The networks of all replicas, with their trained parameters in the rows of one matrix.

    Args:
        learner: a module with the network and the loss of all replicas; it is modified, and its weights are not used.
        networks: the initial network of each replica; replicas may share one.
        options: device and dtype of the training.

    Attributes:
        names: names of the trained parameter tensors.
        shapes: their shapes.
        sizes: their numbers of elements.

    Raises:
        StackingError: a recurrent layer cannot be unrolled.
    """

    def __init__(self, learner: SupervisedModule, networks: Sequence[nn.Module], options: TensorOptions) -> None:
        self.learner, self.options = learner, options
        parameters = learner.named_parameters()
        trained = {name: tensor for name, tensor in parameters if tensor.requires_grad and tensor.numel()}
        self.names = tuple(trained)
        self.shapes = [tensor.shape for tensor in trained.values()]
        self.sizes = [tensor.numel() for tensor in trained.values()]
        self._networks, self._network_index = distinct(networks)
        self._tensors = [_named_tensors(network) for network in self._networks]
        self._state_hook: StateHook | None = None
        self._unroll_recurrent_layers()

    def initial_parameters(self) -> Tensor:
        """Return the initial trained parameters of all replicas, ``[replicas, parameters]``."""
        rows = [torch.cat([tensors[name].flatten() for name in self.names]) for tensors in self._tensors]
        return self.options.convert(torch.stack(rows).detach()[self._network_index])

    def constants(self) -> dict[str, Tensor]:
        """Return frozen parameters and buffers by name, ``[replicas, ...]`` each."""
        names = [name for name in self._tensors[0] if name not in self.names]
        stacked = {name: torch.stack([tensors[name] for tensors in self._tensors]).detach() for name in names}
        return {name: self.options.convert(tensor[self._network_index]) for name, tensor in stacked.items()}

    def views(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return the parameters or gradients in a matrix as views by name, ``[replicas, ...]`` each."""
        parts = zip(self.names, torch.split(parameters, self.sizes, dim=1), self.shapes, strict=True)
        return {name: part.reshape(-1, *shape) for name, part, shape in parts}

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate tensors by name to a matrix, ``[replicas, parameters]``; the inverse of :meth:`views`."""
        return torch.cat([tensors[name].flatten(1) for name in self.names], dim=1)

    def outputs(self, parameters: Tensor, constants: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return all replicas' outputs for the same inputs, ``[replicas, rows, ...]``.

        Args:
            parameters: ``[replicas, parameters]``.
            constants: tensors from :meth:`constants`.
            inputs: ``[rows, ...]``.
        """
        tensors = self.views(parameters) | dict(constants)
        with self.options.default_dtype():
            stacked: Tensor = torch.vmap(self._forward, in_dims=(0, None))(tensors, inputs)
        return stacked

    def gradients(self, state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients, ``[replicas, parameters]``, and losses, ``[replicas]``, each for its own batch."""
        leaf = state.parameters.detach().requires_grad_()
        with self.options.default_dtype():
            losses = torch.vmap(self._loss)(self.views(leaf), dict(state.constants), batch.inputs, batch.targets)
            (gradients,) = torch.autograd.grad(losses.sum(), leaf)  # no loss depends on another replica's parameters
        return gradients, losses.detach()

    def hidden_gradients(self, state: TrainState, batch: Batch) -> dict[RecurrentLayer, Tensor]:
        """Return the derivative of the loss with respect to each hidden state.

        Returns:
            ``[replicas, time steps, sequences, hidden]`` for each recurrent layer.
        """

        def loss(added: Mapping[RecurrentLayer, Tensor], *arguments: Any) -> Tensor:
            visits: Counter[RecurrentLayer] = Counter()

            def add(layer: RecurrentLayer, hidden: Tensor) -> Tensor:
                visits[layer] += 1
                return hidden + added[layer][visits[layer] - 1]

            return self._loss_with_hook(add, *arguments)

        # The derivative with respect to zeros added to the states is the derivative with respect to the states.
        derive = torch.vmap(torch.func.grad(loss))
        tensors = self.views(state.parameters), dict(state.constants), batch.inputs, batch.targets
        with self.options.default_dtype():
            found: dict[RecurrentLayer, Tensor] = derive(self._zeros_like_states(*tensors), *tensors)
        return found

    def trained_network(self, parameters: Tensor, replica: int) -> nn.Module:
        """Return a copy of a replica's network with its final parameters, ``[parameters]``."""
        network = copy.deepcopy(self._networks[int(self._network_index[replica])])
        final = {name.removeprefix("network."): view[0] for name, view in self.views(parameters[None]).items()}
        network.to(parameters.dtype).load_state_dict(final, strict=False)
        return network

    @property
    def has_hidden_states(self) -> bool:
        """Whether the network has a recurrent layer."""
        return any(isinstance(layer, nn.RNNBase) for layer in self.learner.modules())

    def _forward(self, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.learner, dict(tensors), (inputs,))
        return outputs

    def _loss(
        self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> Tensor:
        loss: Tensor = self.learner.loss(self._forward({**parameters, **constants}, inputs), target)
        return loss

    def _loss_with_hook(self, hook: StateHook, *arguments: Any) -> Tensor:
        """Return the loss, with the hook called at every hidden state."""
        self._state_hook = hook
        try:
            return self._loss(*arguments)
        finally:
            self._state_hook = None

    def _unroll_recurrent_layers(self) -> None:
        """Run recurrent layers step by step, because ``torch.vmap`` does not support torch's own implementation."""
        for name, layer in self.learner.named_modules():
            if not isinstance(layer, nn.RNNBase):
                continue
            if not can_unroll(layer):
                raise StackingError(f"the recurrent layer {name} is bidirectional or projects its states")
            Unrolling(layer, partial(self._call_hook, name))

    def _call_hook(self, name: str, layer: int, step: int, hidden: Tensor) -> Tensor | None:
        return None if self._state_hook is None else self._state_hook((name, layer), hidden)

    def _zeros_like_states(
        self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> dict[RecurrentLayer, Tensor]:
        """Return zeros for all hidden states, ``[replicas, time steps, sequences, hidden]``, by recurrent layer."""
        time_steps: Counter[RecurrentLayer] = Counter()
        shapes: dict[RecurrentLayer, torch.Size] = {}

        def note_shape(layer: RecurrentLayer, hidden: Tensor) -> Tensor:
            time_steps[layer] += 1
            shapes[layer] = hidden.shape
            return hidden

        first = ({name: tensor[0] for name, tensor in tensors.items()} for tensors in (parameters, constants))
        with torch.no_grad():
            self._loss_with_hook(note_shape, *first, inputs[0], target[0])
        zeros = next(iter(parameters.values())).new_zeros
        return {layer: zeros(len(inputs), time_steps[layer], *shape) for layer, shape in shapes.items()}


def check_stacking(stacked: StackedNetwork, learner: SupervisedModule, state: TrainState, batch: Batch) -> None:
    """Check the first replica's gradient for one batch against that of its network alone.

    Args:
        stacked: the stacked network.
        learner: the module of the first replica in an ordinary run; its gradients are set.
        state: the initial state of all replicas.
        batch: a batch of each replica.

    Raises:
        StackingError: the network does not run under ``torch.vmap``, changes its buffers, leaves a parameter without
            a gradient, or the two gradients differ.
    """
    initial = {name: tensor.clone() for name, tensor in state.constants.items()}
    try:
        gradients, _ = stacked.gradients(state, batch)
    except Exception as error:  # a user's module may raise anything under torch.vmap
        raise StackingError(f"the network cannot be stacked: {first_line(error)}") from error
    learner.loss(learner(batch.inputs[0]), batch.targets[0]).backward()
    alone = {name: parameter.grad for name, parameter in learner.named_parameters() if name in stacked.names}
    if missing := [name for name, gradient in alone.items() if gradient is None]:
        raise StackingError(f"the parameter {missing[0]} gets no gradient")
    expected = stacked.flatten({name: gradient[None] for name, gradient in alone.items() if gradient is not None})[0]
    buffers = dict(learner.named_buffers())
    for name, constant in initial.items():
        buffer = buffers.get(name, constant[0])  # frozen parameters, which have no buffer, cannot change
        if not (torch.equal(state.constants[name], constant) and torch.equal(buffer, constant[0])):
            raise StackingError("the network changes its buffers in training")
    tolerance = GRADIENT_TOLERANCE * float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
    if not torch.allclose(gradients[0], expected, rtol=0, atol=tolerance, equal_nan=True):
        raise StackingError("the stacked gradients differ from those of the network alone")


def _named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by their names in a :class:`gradclip.models.module.SupervisedModule`."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {f"network.{name}": tensor for name, tensor in named.items()}
