"""Networks of one shape, stacked: their outputs, losses and gradients, each replica's from its own weights."""

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

Key = tuple[str, int]  # a recurrent layer: the module's name, and its place among those stacked in it
AGREEMENT = 1e-3  # of a stacked gradient with the network's own, as a share of its largest element


class StackedNetwork:
    """The networks of some replicas, their trained parameters in the rows of one matrix.

    Args:
        learner: network and loss, which all replicas share but for the weights; it is changed, so no replica's own.
        networks: of the replicas, which may share one.

    Raises:
        StackingError: a recurrent layer cannot be taken step by step.
    """

    def __init__(self, learner: SupervisedModule, networks: Sequence[nn.Module]) -> None:
        self.learner = learner
        trained = {name: p for name, p in learner.named_parameters() if p.requires_grad and p.numel()}
        self.names = tuple(trained)
        self.shapes = [parameter.shape for parameter in trained.values()]
        self.sizes = [parameter.numel() for parameter in trained.values()]
        unique = {id(network): network for network in networks}
        row = {key: number for number, key in enumerate(unique)}
        self._rows = torch.tensor([row[id(network)] for network in networks])
        self._networks = list(unique.values())
        self._tensors = [_tensors(network) for network in self._networks]
        self._disturb: Callable[[Key, Tensor], Tensor] | None = None
        self._unroll()

    def initial_parameters(self, device: torch.device) -> Tensor:
        """Return the trained parameters of all replicas, ``[replicas, parameters]``."""
        rows = [torch.cat([tensors[name].flatten() for name in self.names]) for tensors in self._tensors]
        return torch.stack(rows).detach()[self._rows].to(device)

    def constants(self, device: torch.device) -> dict[str, Tensor]:
        """Return what is not trained, frozen parameters and buffers, ``[replicas, ...]`` each."""
        names = [name for name in self._tensors[0] if name not in self.names]
        stacked = {name: torch.stack([tensors[name] for tensors in self._tensors]).detach() for name in names}
        return {name: tensor[self._rows].to(device) for name, tensor in stacked.items()}

    def views(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return the tensors in a matrix of parameters or gradients by name, ``[replicas, ...]`` each."""
        parts = zip(self.names, torch.split(parameters, self.sizes, dim=1), self.shapes, strict=True)
        return {name: part.reshape(-1, *shape) for name, part, shape in parts}

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the matrix of which the tensors are views, ``[replicas, parameters]``."""
        return torch.cat([tensors[name].flatten(1) for name in self.names], dim=1)

    def outputs(self, parameters: Tensor, constants: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return all replicas' outputs for the same inputs ``[rows, ...]``: ``[replicas, rows, ...]``."""
        tensors = self.views(parameters) | dict(constants)
        stacked: Tensor = torch.vmap(self._forward, in_dims=(0, None))(tensors, inputs)
        return stacked

    def gradients(
        self, parameters: Tensor, constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return gradients ``[replicas, parameters]`` and losses ``[replicas]`` of one batch each.

        Args:
            parameters: ``[replicas, parameters]``.
            constants: of :meth:`constants`.
            inputs: ``[replicas, rows, ...]``.
            target: ``[replicas, rows, ...]``.
        """
        leaf = parameters.detach().requires_grad_()
        losses = torch.vmap(self._loss)(self.views(leaf), dict(constants), inputs, target)
        (gradients,) = torch.autograd.grad(losses.sum(), leaf)  # no loss depends on another's parameters
        return gradients, losses.detach()

    def hidden_gradients(
        self, parameters: Tensor, constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> dict[Key, Tensor]:
        """Return the derivative of the loss with respect to each hidden state, by recurrent layer.

        Arguments are those of :meth:`gradients`; results are ``[replicas, time steps, sequences, hidden]``.
        """
        nothing = self._zeros_like_states(parameters, constants, inputs, target)

        def loss(added: Mapping[Key, Tensor], *arguments: Any) -> Tensor:
            seen: Counter[Key] = Counter()

            def disturb(key: Key, hidden: Tensor) -> Tensor:
                seen[key] += 1
                return hidden + added[key][seen[key] - 1]

            return self._with(disturb, lambda: self._loss(*arguments))

        differentiate = torch.vmap(torch.func.grad(loss))
        found: dict[Key, Tensor] = differentiate(nothing, self.views(parameters), dict(constants), inputs, target)
        return found

    def network_of(self, parameters: Tensor, replica: int) -> nn.Module:
        """Return a network of its own with a replica's final parameters, ``[parameters]``."""
        network = copy.deepcopy(self._networks[int(self._rows[replica])])
        final = {name.removeprefix("network."): view[0] for name, view in self.views(parameters[None]).items()}
        network.to(parameters.dtype).load_state_dict(final, strict=False)
        return network

    @property
    def has_hidden_states(self) -> bool:
        """Whether there is a recurrent layer."""
        return any(isinstance(layer, nn.RNNBase) for layer in self.learner.modules())

    def _forward(self, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.learner, dict(tensors), (inputs,))
        return outputs

    def _loss(
        self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> Tensor:
        loss: Tensor = self.learner.loss(self._forward({**parameters, **constants}, inputs), target)
        return loss

    def _unroll(self) -> None:
        """Take recurrent layers step by step: what torch runs them by cannot be stacked."""
        for name, layer in self.learner.named_modules():
            if not isinstance(layer, nn.RNNBase):
                continue
            if not can_unroll(layer):
                raise StackingError(f"the recurrent layer {name} is bidirectional or projects its states")
            Unrolling(layer, partial(self._visit, name))

    def _visit(self, name: str, layer: int, step: int, hidden: Tensor) -> Tensor | None:
        return None if self._disturb is None else self._disturb((name, layer), hidden)

    def _with(self, disturb: Callable[[Key, Tensor], Tensor], work: Callable[[], Tensor]) -> Tensor:
        self._disturb = disturb
        try:
            return work()
        finally:
            self._disturb = None

    def _zeros_like_states(
        self, parameters: Tensor, constants: Mapping[str, Tensor], inputs: Tensor, target: Tensor
    ) -> dict[Key, Tensor]:
        """What can be added to the hidden states of each replica without a change."""
        steps: Counter[Key] = Counter()
        shapes: dict[Key, torch.Size] = {}

        def note(key: Key, hidden: Tensor) -> Tensor:
            steps[key] += 1
            shapes[key] = hidden.shape
            return hidden

        first = {name: tensor[0] for name, tensor in self.views(parameters).items()}
        with torch.no_grad():
            still = {name: tensor[0] for name, tensor in constants.items()}
            self._with(note, lambda: self._loss(first, still, inputs[0], target[0]))
        count = len(parameters)
        return {key: parameters.new_zeros(count, steps[key], *shape) for key, shape in shapes.items()}


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names that they have in a :class:`gradclip.models.module.SupervisedModule`."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {f"network.{name}": tensor for name, tensor in named.items()}


def check_stacking(
    stacked: StackedNetwork, learner: SupervisedModule, parameters: Tensor, constants: Mapping[str, Tensor], batch: Any
) -> None:
    """Try one batch, and compare the first replica's gradient with that of its network run by itself.

    Args:
        stacked: the networks.
        learner: of the first replica, as an ordinary run would train it.
        parameters: of all replicas, ``[replicas, parameters]``.
        constants: of :meth:`StackedNetwork.constants`.
        batch: inputs and target, ``[replicas, rows, ...]`` each.

    Raises:
        StackingError: the network cannot be stacked, changes its buffers, leaves a parameter without gradient, or the
            two gradients differ.
    """
    inputs, target = batch
    before = {name: tensor.clone() for name, tensor in constants.items()}
    try:
        gradients, _ = stacked.gradients(parameters, constants, inputs, target)
    except Exception as error:  # torch.vmap may meet anything in a user's class
        raise StackingError(f"the network cannot be stacked: {first_line(error)}") from error
    learner.loss(learner(inputs[0]), target[0]).backward()
    own = {name: parameter.grad for name, parameter in learner.named_parameters() if name in stacked.names}
    if missing := [name for name, gradient in own.items() if gradient is None]:
        raise StackingError(f"the parameter {missing[0]} gets no gradient")
    expected = stacked.flatten({name: gradient[None] for name, gradient in own.items() if gradient is not None})[0]
    if any(not torch.equal(before[name], tensor) for name, tensor in constants.items()) or _changed(stacked, learner):
        raise StackingError("the network changes its buffers in training")
    tolerance = AGREEMENT * float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
    if not torch.allclose(gradients[0], expected, rtol=0, atol=tolerance, equal_nan=True):
        raise StackingError("its gradients are others when it is stacked")


def _changed(stacked: StackedNetwork, learner: SupervisedModule) -> bool:
    """Whether an ordinary step changed a buffer."""
    start = stacked.constants(next(learner.parameters()).device)
    buffers = dict(learner.named_buffers())
    return any(not torch.equal(start[name][0], buffers[name]) for name in start if name in buffers)
