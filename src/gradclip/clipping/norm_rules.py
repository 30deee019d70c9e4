"""Rescaling by a rule on the current norm and a state of earlier norms."""

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
    """A rescaler whose coefficient depends on the global norm and a state of earlier norms.

    The rule is written once for tensors and NumPy numbers, with functions that ``torch`` and ``numpy`` both have. In
    place on a CPU it runs in NumPy, where arithmetic on single numbers takes a tenth of the time. If a norm is not
    finite, the result of the rule is discarded: the gradients are divided by the norm, and the state does not change.
    """

    @abstractmethod
    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient and the next state, with the same shapes and types as before.

        Args:
            norm: the result of :meth:`measure`, in float64.
            state: the result of :meth:`gather`.
            xp: the module with the functions for these numbers, ``torch`` or ``numpy``.
        """

    def measure(self, gradients: Gradients) -> Tensor:
        """Return the norm that the rule needs: the global norm of the gradients, a scalar."""
        return global_norm([*gradients.values()])

    def gather(self, state: State, gradients: Gradients) -> State:
        """Return the part of the state that the rule needs for these gradients."""
        return state

    def scatter(self, after: State, state: State, gradients: Gradients) -> State:
        """Return the next state, updated with the result of the rule; the inverse of :meth:`gather`.

        Args:
            after: the state that the rule returned.
            state: the state before the step.
            gradients: gradients of the step.
        """
        return after

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficients of the rule, and the next state."""
        if not gradients:
            return torch.ones(()), state
        norm, known = self.measure(gradients), self.gather(state, gradients)
        coefficients, after = self.rule(norm, known, torch)
        finite = torch.isfinite(norm)
        after = {key: torch.where(finite.all(), value, known[key]) for key, value in after.items()}
        return torch.where(finite, coefficients, 1 / norm), self.scatter(after, state, gradients)

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Multiply the gradients in place, and return the next state."""
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
