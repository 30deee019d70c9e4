"""Norms that neither overflow nor change what they measure: of tensors, and of arrays that were read back.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so that a float32 gradient of finite
elements near 1e20 has an infinite norm and is scaled to zero. Here they are squared in float64, or divided first by
the largest magnitude, as LAPACK's ``lassq`` does (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from gradclip.arrays import Floats, Integers

LARGE = 100_000  # elements from which widening costs a CPU more than a second pass
BLOCK = 65_536  # elements whose squares float32 adds up to 6 digits
VANISHING = 1e-12  # of smaller float32 norms some squares were lost


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, ``[tensors]``, in float64.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21], dtype=torch.float64)
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if any(tensor.is_complex() for tensor in tensors):
        tensors = [as_real(tensor) if order == 2 else tensor.abs() for tensor in tensors]
    if order == 2 and _allow_foreach(tensors):
        large_on_cpu = tensors[0].is_cpu and max(tensor.numel() for tensor in tensors) >= LARGE
        return _large_norms_on_cpu(tensors) if large_on_cpu else _widened_norms(tensors)
    return torch.stack([_norm(_padded(tensor), order) for tensor in tensors])


def _allow_foreach(tensors: Sequence[Tensor]) -> bool:
    """Whether one call may measure all tensors; neither ``torch.vmap`` nor the squares of float64 allow it."""
    return not any(is_batchedtensor(tensor) or tensor.dtype == torch.float64 for tensor in tensors)


def _widened_norms(tensors: Sequence[Tensor]) -> Tensor:
    wide = torch.float32 if tensors[0].is_mps else torch.float64  # Apple's GPUs have no float64
    return torch.stack(torch._foreach_norm(list(tensors), 2, dtype=wide))


def _large_norms_on_cpu(tensors: Sequence[Tensor]) -> Tensor:
    """Norms in float32, and again with care where that over- or underflowed: on a CPU no device waits for the check.

    The squares are added up in blocks, whose norms are joined in float64: a float32 sum of ten million squares would be
    some percent too small.
    """
    blocks = [torch.split(tensor.reshape(-1), BLOCK) if tensor.numel() > BLOCK else (tensor,) for tensor in tensors]
    flat = torch.stack(torch._foreach_norm(list(chain.from_iterable(blocks)), 2, dtype=torch.float32)).double()
    owner = torch.tensor([index for index, part in enumerate(blocks) for _ in part])
    norms = flat.new_zeros(len(blocks)).index_add(0, owner, flat.square()).sqrt()
    for index in torch.nonzero(~((norms > VANISHING) & norms.isfinite())).flatten().tolist():
        norms[index] = _norm(_padded(tensors[index]), 2.0)
    return norms


def _norm(tensor: Tensor, order: float) -> Tensor:
    """The norm of one tensor: widened if small; scaled first, in two passes, if large or beyond float64's powers."""
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
    narrow = all(tensor.dtype not in {torch.float64, torch.complex128} for tensor in tensors)
    if order == 2 and narrow:  # then the squares of the norms, in float64, cannot overflow
        norm: Tensor = torch.linalg.vector_norm(norms, order)
        return norm
    return norm_of_norms(norms, order)


def norm_of_norms(norms: Tensor, order: float = 2.0) -> Tensor:
    """Return the global norm, a scalar, from the norms of its parts, ``[parts]``."""
    if norms.numel() == 0:
        return norms.new_zeros(())
    scale = safe_scale(norms.amax())
    norm: Tensor = torch.linalg.vector_norm(norms / scale, order) * scale
    return norm


def unit_norms(tensor: Tensor) -> Tensor:
    """Return the L2 norm of each unit, of the tensor's rank, every dimension but the first of size 1, in float64.

    Example:
        >>> unit_norms(torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        tensor([[ 5.],
                [10.]], dtype=torch.float64)
    """
    inner = tuple(range(1, tensor.ndim)) or tuple(range(tensor.ndim))  # a vector is one unit
    wide = _wide(tensor.abs() if tensor.is_complex() else tensor)
    scale = safe_scale(wide.abs().amax(inner, keepdim=True))
    norms: Tensor = torch.linalg.vector_norm(wide / scale, dim=inner, keepdim=True).double() * scale
    return norms


def part_norms(matrix: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the L2 norm of each part of each row, ``[rows, parts]``.

    Args:
        matrix: ``[rows, elements]``, such as the flattened gradients of each replica.
        sizes: how many elements each part has, in order.

    Example:
        >>> part_norms(torch.tensor([[3.0, 4.0, -2.0]]), [2, 1])
        tensor([[5., 2.]], dtype=torch.float64)
    """
    if matrix.dtype != torch.float64:
        if matrix.is_cpu and max(sizes) <= BLOCK:  # no device waits for the check, and to widen all takes longer
            norms = _unscaled_part_norms(matrix, sizes).double()
            if ((norms > VANISHING) & norms.isfinite()).all():
                return norms
        wide = torch.float32 if matrix.is_mps else torch.float64  # Apple's GPUs have no float64
        return _unscaled_part_norms(matrix.to(wide), sizes)
    finite = matrix.abs().nan_to_num(nan=0.0, posinf=0.0)
    scale = safe_scale(finite.amax(dim=1, keepdim=True))  # float64 need not hold the squares of its numbers
    return _unscaled_part_norms(matrix / scale, sizes) * scale


def _unscaled_part_norms(matrix: Tensor, sizes: Sequence[int]) -> Tensor:
    parts = torch.split(matrix, list(sizes), dim=1)
    return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], dim=1)


def row_norms(rows: Floats) -> Floats:
    """Return the L2 norm of each row of an array, ``[rows]``.

    Example:
        >>> row_norms(np.array([[3.0, 4.0], [3e200, 4e200]]))
        array([5.e+000, 5.e+200])
    """
    scale = _row_scale(rows)
    norms: Floats = np.sqrt(np.sum(np.square(rows / scale), axis=1)) * scale[:, 0]
    return norms


def row_part_norms(rows: Floats, starts: Sequence[int] | Integers) -> Floats:
    """Return the L2 norm of each part of each row of an array, ``[rows, parts]``.

    Args:
        rows: ``[rows, elements]``, such as the flattened gradients of each step.
        starts: where each part begins, in order.

    Example:
        >>> row_part_norms(np.array([[3.0, 4.0, -2.0]]), [0, 2])
        array([[5., 2.]])
    """
    scale = _row_scale(rows)
    norms: Floats = np.sqrt(np.add.reduceat(np.square(rows / scale), starts, axis=1)) * scale
    return norms


def _row_scale(rows: Floats) -> Floats:
    """What to divide rows by before squaring, ``[rows, 1]``: their largest finite magnitude, or 1 without any."""
    largest: Floats = np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0, where=np.isfinite(rows))
    return np.where(largest > 0, largest, 1.0)


def safe_scale(largest: Tensor) -> Tensor:
    """Return what to divide by before squaring: the largest magnitude, or 1 where that is 0 or not finite."""
    return torch.where((largest > 0) & torch.isfinite(largest), largest, torch.ones_like(largest))


def as_real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as pairs of real numbers, ``[..., 2]``, as torch's optimizers see it; others as they are.

    Example:
        >>> as_real(torch.tensor([3 + 4j]))
        tensor([[3., 4.]])
    """
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _padded(tensor: Tensor) -> Tensor:
    """A tensor that is not empty, and so has a largest element."""
    return tensor if tensor.numel() else tensor.new_zeros(1)
