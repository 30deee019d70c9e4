"""Norms of gradients that neither overflow nor change what they measure.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so that a float32 gradient of finite
elements near 1e20 has an infinite norm and is scaled to zero. Here every tensor is first divided by its largest
magnitude, as LAPACK's ``lassq`` does (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def largest_magnitude(tensors: Sequence[Tensor]) -> Tensor:
    """Return max |element| over all tensors, a scalar; NaN if any element is NaN, 0 without elements.

    Example:
        >>> largest_magnitude([torch.tensor([1.0, -3.0]), torch.tensor(2.0)])
        tensor(3.)
    """
    return magnitudes(tensors).amax() if tensors else torch.zeros(())


def magnitudes(tensors: Iterable[Tensor]) -> Tensor:
    """Return max |element| of each tensor, shape ``[number of tensors]``.

    Example:
        >>> magnitudes([torch.tensor([1.0, -3.0]), torch.empty(0)])
        tensor([3., 0.])
    """
    return torch.stack([_wide(torch.linalg.vector_norm(_padded(tensor), torch.inf)) for tensor in tensors])


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, shape ``[number of tensors]``, in float32 or wider.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21])
    """
    if not tensors:
        return torch.zeros(0)
    scales = safe_scale(magnitudes(tensors))
    pairs = zip(tensors, scales, strict=True)
    norms = [torch.linalg.vector_norm(_padded(_wide(tensor)) / scale, order) for tensor, scale in pairs]
    return torch.stack(norms) * scales


def global_norm(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm over all elements of all tensors, L2 by default, a scalar.

    It is NaN if an element is NaN, infinite only if an element is infinite or the norm itself exceeds its type.

    Example:
        >>> global_norm([torch.tensor([3e20]), torch.tensor([4e20])])
        tensor(5.0000e+20)
    """
    return norm_of_norms(tensor_norms(tensors, order), order)


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
