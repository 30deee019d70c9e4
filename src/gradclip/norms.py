"""Norms of gradients that neither overflow nor change what they measure.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so that a float32 gradient of finite
elements near 1e20 has an infinite norm and is scaled to zero. Here they are squared in float64, or divided first by
the largest magnitude, as LAPACK's ``lassq`` does (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LARGE = 100_000  # elements from which widening costs a processor more than a second pass


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, shape ``[number of tensors]``, in float64.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21], dtype=torch.float64)
    """
    return (
        torch.stack([_norm(_padded(tensor), order) for tensor in tensors])
        if tensors
        else torch.zeros(0, dtype=torch.float64)
    )


def _norm(tensor: Tensor, order: float) -> Tensor:
    """Small tensors are widened; of large ones a processor has done sooner with going over them twice."""
    if tensor.dtype != torch.float64 and (tensor.numel() < LARGE or tensor.is_cuda):
        wide: Tensor = torch.linalg.vector_norm(tensor, order, dtype=torch.float64)
        return wide
    scale = safe_scale(_wide(torch.stack(torch.aminmax(tensor)).abs().amax()))
    norm: Tensor = torch.linalg.vector_norm(_wide(tensor) / scale, order).double() * scale.double()
    return norm


def global_norm(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm over all elements of all tensors, L2 by default, a scalar.

    It is NaN if an element is NaN, infinite only if an element is infinite.

    Example:
        >>> global_norm([torch.tensor([3e20]), torch.tensor([4e20])])
        tensor(5.0000e+20, dtype=torch.float64)
    """
    norms = tensor_norms(tensors, order)
    if all(tensor.dtype != torch.float64 for tensor in tensors):  # then squares of float64 norms cannot overflow
        norm: Tensor = torch.linalg.vector_norm(norms, order)
        return norm
    return norm_of_norms(norms, order)


def norm_of_norms(norms: Tensor, order: float = 2.0) -> Tensor:
    """Return the global norm, a scalar, from the norms of its parts, shape ``[parts]``."""
    if norms.numel() == 0:
        return norms.new_zeros(())
    scale = safe_scale(norms.amax())
    norm: Tensor = torch.linalg.vector_norm(norms / scale, order) * scale
    return norm


def safe_scale(largest: Tensor) -> Tensor:
    """Return what to divide by before squaring: the largest magnitude, or 1 where that is 0 or not finite."""
    return torch.where((largest > 0) & torch.isfinite(largest), largest, torch.ones_like(largest))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _padded(tensor: Tensor) -> Tensor:
    """An empty tensor has no largest element; give it a zero."""
    return tensor if tensor.numel() else tensor.new_zeros(1)
