"""Detection of what clipping did to gradients, without reading all of their elements."""

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from gradclip.arrays import Floats

SAMPLE = 4096  # elements
LEAST = 1e-30  # elements of smaller norms may have lost digits in float32
ROUNDING = 1e-6  # relative error of a product in float32
LARGEST = float(np.finfo(np.float32).max)


class GradientVersions:
    """The versions of gradients before clipping, which count changes in place without reading elements."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._gradients = [parameter.grad for parameter in parameters]
        self._versions = [version_of(gradient) for gradient in self._gradients]

    def count_changes(self, parameters: Sequence[nn.Parameter]) -> int | None:
        """Return how often each gradient was changed in place; None if the counts differ or a gradient was replaced.

        Also None if there are no counts: tensors made in inference mode have no versions.
        """
        if None in self._versions:
            return None
        counts = set()
        for parameter, before, version in zip(parameters, self._gradients, self._versions, strict=True):
            if parameter.grad is not before:
                return None
            counts.add((version_of(before) or 0) - (version or 0))
        return counts.pop() if len(counts) == 1 else None


def version_of(gradient: Tensor | None) -> int | None:
    """Return how often a gradient was changed in place, 0 without one; None if it was made in inference mode."""
    if gradient is None:
        return 0
    return None if gradient.is_inference() else gradient._version


class Sample:
    """A sample of elements, from which to find the coefficient that multiplied all gradients.

    The sample is the first elements of the gradient with the largest norm. There is no sample if a gradient is not on a
    CPU, where reading it would synchronize; is not float32, since other types round or overflow differently; or is not
    finite.

    Args:
        gradients: gradients before clipping.
        norms: their norms, ``[gradients]``.
    """

    def __init__(self, gradients: Sequence[Tensor], norms: Tensor) -> None:
        self._before: Floats | None = None
        are_float32 = all(gradient.is_cpu and gradient.dtype == torch.float32 for gradient in gradients)
        if are_float32:
            self._index = int(norms.argmax())  # the index of a NaN, if there is one
            self._largest = norms[self._index].item()
            self._before = self._read(gradients) if isfinite(self._largest) else None

    def coefficient(self, gradients: Sequence[Tensor]) -> float | None:
        """Return the coefficient that multiplied the sample; None if it is not known, or the sample changed otherwise.

        Example:
            >>> gradients = [torch.tensor([3.0, 4.0])]
            >>> sample = Sample(gradients, torch.tensor([5.0]))
            >>> sample.coefficient([gradients[0] / 2])
            0.5
        """
        if self._before is None:
            return None
        after = self._read(gradients)
        norm_before, norm = sqrt(self._before @ self._before), sqrt(after @ after)  # float64 holds squares of float32
        if not (norm_before > LEAST and LEAST < norm < np.inf):
            return None
        coefficient = norm / norm_before
        is_multiple = np.abs(after - coefficient * self._before).max() <= ROUNDING * np.abs(after).max()
        return coefficient if is_multiple and coefficient * self._largest < LARGEST else None

    def _read(self, gradients: Sequence[Tensor]) -> Floats:
        elements: Floats = gradients[self._index].detach().reshape(-1)[:SAMPLE].double().numpy()
        return elements
