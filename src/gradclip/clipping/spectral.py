"""Clipping of the singular values of matrices."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.rescaling import rescale
from gradclip.errors import ClippingError
from gradclip.norms.gpu_plans import units_of
from gradclip.norms.tensors import tensor_norms
from gradclip.ranges import COUNT_OR_ZERO, FIXED, POSITIVE
from gradclip.sharding import is_distributed

WIDEST = 1e4  # largest norm at the start of the iteration, as a multiple of the threshold: float32 has seven digits
STEEP, STEEP_STEPS = (3.4445, -4.7750, 2.0315), 10  # Jordan 2024 (Muon): brings values from 1e-5 close to 1
FLAT, FLAT_STEPS = (15 / 8, -10 / 8, 3 / 8), 4  # fifth-order Newton-Schulz: converges to 1 from values close to it


@dataclass(frozen=True)
class Spectral(Clipper):
    """Cap the singular values of each gradient at c, and keep its singular vectors.

    Rule: U·min(Σ, c)·Vᵀ for each matrix.
    U·Σ·Vᵀ is the singular value decomposition of the matrix. The matrix of a convolution has one row per filter. The
    only singular value of a vector is its norm.

    On a CPU, small matrices are decomposed. Larger matrices are iterated, and so are all matrices on a GPU, where a
    decomposition would wait for the host. With O = U·Vᵀ, the result is
    (G + O·c − (G − O·c)·sign(Oᵀ·G − I·c))/2. Both O and the sign are computed by matrix products alone (Newton-Schulz),
    which use all cores, to about 0.1% of c. A matrix whose norm is above 10,000·c is scaled to that norm before the
    iteration.

    Non-finite gradients: as in ``parameter_norm``.

    Source: Yukhimchuk et al. 2026.
    Yukhimchuk, Kolar, Takáč & Choudhury, "Gradient clipping beyond vector norms: a spectral approach for matrix-valued
    parameters"; the iteration is from Cesista 2025, "Fast, numerically stable, and auto-differentiable spectral
    clipping via Newton-Schulz iteration".

    Args:
        value: the largest singular value c, in loss units per weight unit.
        exact: a matrix on a CPU is decomposed if its smaller side is at most this long.

    Raises:
        ClippingError: value is not above 0, or exact is not a whole number of at least 0; in a step, if a matrix is
            spread over processes.

    Example:
        >>> gradients = {"weight": torch.tensor([[3.0, 0.0], [0.0, 0.5]]), "bias": torch.tensor([3.0, 4.0])}
        >>> Spectral(1.0)(gradients, gradients, {})[0]
        {'weight': tensor([[1.0000, 0.0000],
                [0.0000, 0.5000]]), 'bias': tensor([0.6000, 0.8000])}
    """

    value: Annotated[float | Tensor, POSITIVE]
    exact: Annotated[int, COUNT_OR_ZERO, FIXED] = 1024

    changes_direction: ClassVar[bool] = True

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients with no singular value above the threshold."""
        norms = tensor_norms([*gradients.values()])
        at_most = torch.clamp(self.value / norms, max=1.0)  # enough for a vector: its only singular value is its norm
        clipped = rescale(gradients, at_most)
        for (name, gradient), norm in zip(gradients.items(), norms, strict=True):
            if min(_sides(gradient)) > 1:
                _check_whole(name, gradient)
                capped = self._cap(gradient, norm)
                clipped[name] = torch.where(norm.isfinite(), capped, clipped[name])
        return clipped, state

    def _cap(self, gradient: Tensor, norm: Tensor) -> Tensor:
        """Cap the singular values of a finite gradient; return it unchanged if none is above the threshold."""
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32)).nan_to_num(0.0, 0.0, 0.0)
        matrix = wide.reshape(_sides(gradient))
        if gradient.is_cpu and min(matrix.shape) <= self.exact:
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            kept = torch.clamp(self.value / values, max=1.0).to(values.dtype) * values
            capped, is_above = (left * kept) @ right, values[0] > self.value
        else:
            start = torch.clamp(WIDEST * self.value / norm, max=1.0) / self.value
            at_one, is_above = _cap_at_one(matrix * start.to(wide.dtype))
            capped = at_one * self.value
        return torch.where(is_above, capped.to(gradient.dtype).reshape(gradient.shape), gradient)


def _sides(tensor: Tensor) -> tuple[int, int]:
    """Return the sides of a tensor as a matrix with a row for each index of dimension 0; a vector is one row."""
    rows = units_of(tensor.shape)
    return rows, tensor.numel() // max(rows, 1)


def _check_whole(name: str, gradient: Tensor) -> None:
    if is_distributed(gradient):
        raise ClippingError(
            f"clip: got spectral; the gradient of {name} is spread over processes, and none of them can compute its "
            "singular values: choose a method that rescales, such as norm"
        )


def _cap_at_one(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Cap singular values at 1 by matrix products; also return whether one was above 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mH
    unit = _sign(wide)
    beyond = _sign(wide @ unit.mH - torch.eye(wide.shape[0], dtype=wide.dtype, device=wide.device))
    capped = (wide + unit - beyond @ (wide - unit)) / 2
    above = (len(beyond) + beyond.diagonal().sum().real) / 2  # number of singular values above 1, whose sign is 1
    return capped if wide is matrix else capped.mH, above > 0.5


def _sign(matrix: Tensor) -> Tensor:
    """Bring the nonzero singular values of a matrix to 1; it has at most as many rows as columns."""
    norm = torch.linalg.vector_norm(matrix)
    matrix = matrix / torch.where(norm == 0, torch.ones_like(norm), norm)
    for first, third, fifth in [STEEP] * STEEP_STEPS + [FLAT] * FLAT_STEPS:
        square = matrix @ matrix.mH
        matrix = first * matrix + (third * square + fifth * square @ square) @ matrix
    return matrix
