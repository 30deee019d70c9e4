"""Norms of gradients that neither overflow nor change what they measure.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so that a float32 gradient of finite
elements near 1e20 has an infinite norm and is scaled to zero. Here they are squared in float64, or divided first by
the largest magnitude, as LAPACK's ``lassq`` does (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor

LARGE = 100_000  # elements from which widening costs a processor more than going over them twice
VANISHING = 1e-12  # of smaller float32 norms some squares were lost


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, shape ``[number of tensors]``, in float64.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21], dtype=torch.float64)
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if order == 2 and _can_go_together(tensors):
        on_processor = tensors[0].is_cpu and max(tensor.numel() for tensor in tensors) >= LARGE
        return _large_norms_on_cpu(tensors) if on_processor else _widened_norms(tensors)
    return torch.stack([_norm(_padded(tensor), order) for tensor in tensors])


def _can_go_together(tensors: Sequence[Tensor]) -> bool:
    """Whether the quicker ways are open, which neither ``torch.vmap`` nor the squares of float64 allow."""
    return not any(is_batchedtensor(tensor) or tensor.dtype == torch.float64 for tensor in tensors)


def _widened_norms(tensors: Sequence[Tensor]) -> Tensor:
    wide = torch.float32 if tensors[0].is_mps else torch.float64  # Apple's GPUs have no float64
    return torch.stack(torch._foreach_norm(list(tensors), 2, dtype=wide))


def _large_norms_on_cpu(tensors: Sequence[Tensor]) -> Tensor:
    """On a processor nothing waits for a number to be looked at, so that care is taken only where it is needed."""
    norms = torch.stack(torch._foreach_norm(list(tensors), 2, dtype=torch.float32)).double()
    for place in torch.nonzero(~((norms > VANISHING) & norms.isfinite())).flatten().tolist():
        norms[place] = _norm(_padded(tensors[place]), 2.0)
    return norms


def _norm(tensor: Tensor, order: float) -> Tensor:
    """Small tensors are widened; large ones are gone over twice, and all whose powers float64 cannot hold."""
    if order in (2, torch.inf) and tensor.dtype != torch.float64 and (tensor.numel() < LARGE or tensor.is_cuda):
        wide: Tensor = torch.linalg.vector_norm(tensor, order, dtype=torch.float64)
        return wide
    scale = safe_scale(_wide(torch.stack(torch.aminmax(tensor)).abs().amax()))
    norm: Tensor = torch.linalg.vector_norm(_wide(tensor) / scale, order, dtype=torch.float64) * scale.double()
    return norm


def global_norm(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm over all elements of all tensors, L2 by default, a scalar.

    It is NaN if an element is NaN, infinite only if an element is infinite.

    Example:
        >>> global_norm([torch.tensor([3e20]), torch.tensor([4e20])])
        tensor(5.0000e+20, dtype=torch.float64)
    """
    norms = tensor_norms(tensors, order)
    if order == 2 and all(
        tensor.dtype != torch.float64 for tensor in tensors
    ):  # then squares of float64 norms cannot overflow
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
