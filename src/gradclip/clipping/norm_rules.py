"""Rescaling by a rule of norms and of what is remembered of earlier ones."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.clipping.rescaling import rescale_in_place
from gradclip.norms.tensors import global_norm

Numbers = Any  # tensors, or NumPy's numbers and arrays


class NormRule(Rescaler):
    """A rescaler whose coefficient follows from the global norm and what it remembers of earlier ones.

    The rule is written once, for tensors and for NumPy's numbers, with functions that ``torch`` and ``numpy`` both
    have. In place on a CPU it is computed by NumPy, whose arithmetic of single numbers takes a tenth of the time. What
    the rule says of a norm that is not finite does not count: the gradients are divided by it, and it is not
    remembered.
    """

    @abstractmethod
    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient and the next state, of the same shapes and types as before.

        Args:
            norm: what :meth:`measure` returned, in float64.
            state: what :meth:`gather` returned.
            xp: what has the functions of these numbers, ``torch`` or ``numpy``.
        """

    def measure(self, gradients: Gradients) -> Tensor:
        """Return what the rule needs to know of the gradients: their global norm, a scalar."""
        return global_norm([*gradients.values()])

    def gather(self, state: State, gradients: Gradients) -> State:
        """Return the numbers of the state that the rule needs for these gradients."""
        return state

    def scatter(self, after: State, state: State, gradients: Gradients) -> State:
        """Return the next state, with the numbers that the rule returned; the inverse of :meth:`gather`.

        Args:
            after: what the rule returned.
            state: before the step.
            gradients: of the step.
        """
        return after

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what the rule says, and the next state."""
        if not gradients:
            return torch.ones(()), state
        norm, known = self.measure(gradients), self.gather(state, gradients)
        coefficients, after = self.rule(norm, known, torch)
        finite = torch.isfinite(norm)
        after = {key: torch.where(finite.all(), value, known[key]) for key, value in after.items()}
        return torch.where(finite, coefficients, 1 / norm), self.scatter(after, state, gradients)

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Multiply the gradients in place, and return the next state; arguments are those of the base class."""
        norm = self.measure(gradients)
        if not gradients or not norm.is_cpu or isinstance(getattr(self, "value", None), Tensor):
            return super().clip_in_place(gradients, parameters, state)
        number = norm.numpy()[()]
        known = {key: value.numpy()[()] for key, value in self.gather(state, gradients).items()}
        with np.errstate(all="ignore"):
            coefficients, after = self.rule(number, known, np)
            finite = np.isfinite(number)
            if not finite.all():
                coefficients, after = np.where(finite, coefficients, 1 / number), known
        rescale_in_place(gradients, _as_tensor(coefficients))
        return self.scatter({key: _as_tensor(value) for key, value in after.items()}, state, gradients)


def _as_tensor(numbers: Numbers) -> Tensor:
    return torch.from_numpy(np.asarray(numbers))
