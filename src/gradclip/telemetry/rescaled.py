"""What clipping did to gradients, from less than all of their elements."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SAMPLE = 4096  # elements
LEAST = 1e-30  # of smaller norms float32 may have lost digits


class Unchanged:
    """Gradients as they are before clipping, by which changes in place are counted without a look at elements."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._gradients = [parameter.grad for parameter in parameters]
        self._versions = [0 if gradient is None else gradient._version for gradient in self._gradients]

    def count_changes(self, parameters: Sequence[nn.Parameter]) -> int | None:
        """Return how often each gradient was changed in place; None if they differ in that, or one is another now."""
        counts = {
            -1 if parameter.grad is not before else 0 if before is None else before._version - version
            for parameter, before, version in zip(parameters, self._gradients, self._versions, strict=True)
        }
        return counts.pop() if len(counts) == 1 and -1 not in counts else None


class Sample:
    """Some elements, by which the number is found that all gradients are multiplied by.

    They are the first ones of the gradient with the largest norm. There is no sample on another device than a CPU,
    where to look for it would wait, and where there is a gradient that is not finite.

    Args:
        gradients: before clipping.
        norms: their norms, ``[gradients]``.
    """

    def __init__(self, gradients: Sequence[Tensor], norms: Tensor) -> None:
        self._norm = 0.0
        if norms.is_cpu and norms.isfinite().all():
            self._index = int(norms.argmax())
            self._norm = self._measure(gradients)

    def coefficient(self, gradients: Sequence[Tensor]) -> float | None:
        """Return the number by which the sample was multiplied; None if it does not tell.

        Example:
            >>> gradients = [torch.tensor([3.0, 4.0])]
            >>> sample = Sample(gradients, torch.tensor([5.0]))
            >>> sample.coefficient([gradients[0] / 2])
            0.5
        """
        if not LEAST < self._norm < torch.inf:
            return None
        norm = self._measure(gradients)
        return norm / self._norm if LEAST < norm < torch.inf else None

    def _measure(self, gradients: Sequence[Tensor]) -> float:
        gradient = gradients[self._index]
        if gradient.dtype != torch.float32 or not gradient.is_cpu:  # in other types it is rounded or may overflow
            return 0.0
        return float(torch.linalg.vector_norm(gradient.reshape(-1)[:SAMPLE], dtype=torch.float64))
