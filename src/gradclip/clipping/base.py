"""The contract of a clipper."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from gradclip.norms import global_norm

Gradients = Mapping[str, Tensor]  # by parameter name, each of its parameter's shape
State = Mapping[str, Tensor]  # what an adaptive method remembers; empty for the others


class Report(NamedTuple):
    """What a clipper did, as scalar tensors on the gradients' device.

    Attributes:
        norm: global L2 norm before clipping.
        norm_clipped: global L2 norm after clipping.
        clipped: whether any gradient was changed.
        skipped: whether the whole update is to be left out.
    """

    norm: Tensor
    norm_clipped: Tensor
    clipped: Tensor
    skipped: Tensor


class Clipper(ABC):
    """A pure transform of named gradients: it changes no input and asks no tensor for its value.

    So the same object runs in place on ``.grad`` in a Lightning loop and under ``torch.vmap`` over many replicas.

    Attributes:
        changes_direction: whether clipping can turn the gradient, rather than shorten it.
        may_skip: whether :attr:`Report.skipped` can be true.
    """

    changes_direction: ClassVar[bool] = False
    may_skip: ClassVar[bool] = False

    def init(self, parameters: Gradients) -> State:
        """Return the state before the first step: nothing, unless a method remembers."""
        return {}

    @abstractmethod
    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the clipped gradients and the next state."""

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether the update between two states is to be left out, a scalar."""
        return torch.tensor(False)

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return the clipped gradients, the next state and what was done."""
        clipped, after = self.transform(gradients, parameters, state)
        return clipped, after, _report(gradients, clipped, self.skips(state, after))


class Rescaler(Clipper):
    """A clipper that multiplies gradients by coefficients: one for all, or one for each tensor."""

    @abstractmethod
    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficient, a scalar, or one for each gradient, ``[gradients]``; and the next state."""

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the gradients times their coefficients, and the next state."""
        coefficients, after = self.coefficients(gradients, parameters, state)
        return rescale(gradients, coefficients), after


def _report(before: Gradients, after: Gradients, skipped: Tensor) -> Report:
    """Compare gradients before and after clipping."""
    norm, norm_clipped = global_norm([*before.values()]), global_norm([*after.values()])
    changed = [_differ(before[name], after[name]).any() for name in before]
    return Report(norm, norm_clipped, torch.stack(changed).any() if changed else torch.tensor(False), skipped)


def _differ(before: Tensor, after: Tensor) -> Tensor:
    """Where elements changed; a NaN that stays one did not."""
    return (before != after) & ~(before.isnan() & after.isnan())


def rescale(gradients: Gradients, coefficients: Tensor) -> dict[str, Tensor]:
    """Multiply gradients by one coefficient, a scalar, or by one each, ``[number of gradients]``.

    An infinite gradient times a coefficient of zero is NaN: what is not finite is never hidden. Coefficients are not
    rounded to 16 bits, which small ones would not survive.
    """
    each = coefficients.unbind() if coefficients.ndim else [coefficients] * len(gradients)
    pairs = zip(gradients.items(), each, strict=True)
    return {name: _multiply(gradient, coefficient) for (name, gradient), coefficient in pairs}


def rescale_in_place(gradients: Gradients, coefficients: Tensor) -> None:
    """Do what :func:`rescale` does, without new memory where gradients have 32 bits or more."""
    if any(gradient.dtype.itemsize < 4 for gradient in gradients.values()):
        torch._foreach_copy_(list(gradients.values()), list(rescale(gradients, coefficients).values()))
        return
    factors = coefficients if coefficients.ndim == 0 else list(coefficients.unbind())
    torch._foreach_mul_(list(gradients.values()), factors)


def _multiply(gradient: Tensor, coefficient: Tensor) -> Tensor:
    wide = torch.promote_types(gradient.dtype, torch.float32)
    return (gradient.to(wide) * coefficient.to(wide)).to(gradient.dtype)


def gather_states(states: Sequence[State]) -> dict[str, Tensor]:
    """Put the states of several clippers into one, each under its place."""
    return {f"{place}.{key}": value for place, state in enumerate(states) for key, value in state.items()}


def own_state(state: State, place: int) -> State:
    """Take one clipper's state out of those of several."""
    prefix = f"{place}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def any_skips(clippers: Sequence[Clipper], state: State, after: State) -> Tensor:
    """Return whether one of several clippers has the update left out, from their states in one."""
    places = enumerate(clippers)
    each = [clipper.skips(own_state(state, place), own_state(after, place)) for place, clipper in places]
    return torch.stack(each).any() if each else torch.tensor(False)
