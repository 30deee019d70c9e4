"""Norms that neither overflow nor change what they measure: of tensors, and of arrays that were read back.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so that a float32 gradient of finite
elements near 1e20 has an infinite norm and is scaled to zero. Here they are squared in float64, or divided first by
the largest magnitude, as LAPACK's ``lassq`` does (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain, compress

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch._utils import _flatten_dense_tensors

from gradclip.arrays import Floats, Integers
from gradclip.sharding import is_distributed, join_shards, shard

LARGE = 100_000  # elements from which widening costs a CPU more than a second pass
BLOCK = 65_536  # elements whose squares float32 adds up to 6 digits
SMALL = 4096  # elements, which cost a CPU less to copy than a call of their own
TOGETHER = 64  # of them
VANISHING = 1e-12  # of smaller float32 norms some squares were lost


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, ``[tensors]``, in float64.

    Those of sharded tensors (``DTensor``) are joined over the mesh, so that each process has the norms of the whole.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21], dtype=torch.float64)
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if not any(is_distributed(tensor) for tensor in tensors):
        return _local_norms(tensors, order)
    norms = _local_norms([shard(tensor) for tensor in tensors], order)
    return torch.stack(join_shards(norms.unbind(), tensors, partial(_joined_norms, order=order)))


def _local_norms(tensors: Sequence[Tensor], order: float) -> Tensor:
    if any(tensor.is_complex() for tensor in tensors):
        tensors = [as_real(tensor) if order == 2 else tensor.abs() for tensor in tensors]
    if any(is_batchedtensor(tensor) for tensor in tensors):  # torch.vmap allows none of the calls for all tensors
        return torch.stack([_norm(_padded(tensor), order) for tensor in tensors])
    if order == torch.inf:
        return _largest_magnitudes([_padded(tensor) for tensor in tensors])
    is_narrow = torch.float64 not in {tensor.dtype for tensor in tensors}
    if is_narrow and order in (1, 2) and tensors[0].is_cpu:
        return _norms_on_cpu(tensors, order)
    if is_narrow and order == 2:
        return torch.stack(torch._foreach_norm(list(tensors), 2, dtype=wide_type(tensors[0])))
    return torch.stack([_norm(_padded(tensor), order) for tensor in tensors])


def _joined_norms(norms: Tensor, order: float = 2.0) -> Tensor:
    """The norms of tensors from those of their shards, ``[shards, ...]``."""
    scale = safe_scale(norms.amax(0))
    joined: Tensor = torch.linalg.vector_norm(norms / scale, order, dim=0) * scale
    return joined


def _largest_magnitudes(tensors: Sequence[Tensor]) -> Tensor:
    """The norms of infinite order; a CPU finds both extremes ten times as fast."""
    if not tensors[0].is_cpu:
        return torch.stack(torch._foreach_norm(list(tensors), torch.inf)).to(wide_type(tensors[0]))
    ends = torch.stack([end for tensor in tensors for end in torch.aminmax(tensor)])
    return ends.view(-1, 2).abs().amax(dim=1).double()


def _extremes_of_small(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Tensors with the same largest magnitude: the ends of small ones together, which a CPU is slow to look at singly.

    They are copied into one memory a few at a time, so that it stays in the cache.
    """
    if not all(tensor.is_cpu for tensor in tensors) or any(is_batchedtensor(tensor) for tensor in tensors):
        return tensors
    are_small = [tensor.numel() <= SMALL for tensor in tensors]
    if sum(are_small) < TOGETHER or any(is_distributed(tensor) for tensor in tensors):
        return tensors
    large = [tensor for tensor, is_small in zip(tensors, are_small, strict=True) if not is_small]
    small = [tensor.abs() if tensor.is_complex() else tensor for tensor in compress(tensors, are_small)]
    groups = [small[start : start + TOGETHER] for start in range(0, len(small), TOGETHER)]
    return large + [_ends(group) for group in groups]


def _ends(tensors: Sequence[Tensor]) -> Tensor:
    """The least and the largest element of all tensors."""
    joined: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return torch.stack(torch.aminmax(_padded(joined)))


def _norms_on_cpu(tensors: Sequence[Tensor], order: float) -> Tensor:
    """Norms in float32, and again with care where that over- or underflowed: on a CPU no device waits for the check.

    The powers are added up in blocks, whose norms are joined in float64: a float32 sum of ten million squares would be
    some percent too small.
    """
    blocks = [torch.split(tensor.reshape(-1), BLOCK) if tensor.numel() > BLOCK else (tensor,) for tensor in tensors]
    flat = torch.stack(torch._foreach_norm(list(chain.from_iterable(blocks)), order, dtype=torch.float32)).double()
    norms = flat
    if len(flat) > len(tensors):
        owner = torch.tensor([index for index, part in enumerate(blocks) for _ in part])
        norms = flat.new_zeros(len(blocks)).index_add(0, owner, flat.pow(order)).pow(1 / order)
    for index in _doubtful(norms):
        norms[index] = _norm(_padded(tensors[index]), order)
    return norms


def _doubtful(norms: Tensor, vanishing: float = VANISHING) -> list[int]:
    """Which norms, measured in float32 on a CPU, over- or underflowed."""
    least, largest = torch.aminmax(_padded(norms))
    if vanishing < least.item() and largest.item() < torch.inf:  # neither is true of NaN
        return []
    indices: list[int] = torch.nonzero(~((norms > vanishing) & norms.isfinite())).flatten().tolist()
    return indices


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
    norms = tensor_norms(_extremes_of_small(tensors) if order == torch.inf else tensors, order)
    narrow = not {torch.float64, torch.complex128} & {tensor.dtype for tensor in tensors}
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


def unit_norms(tensors: Sequence[Tensor], least: float = 0.0) -> list[Tensor]:
    """Return the L2 norms of each tensor's units, every dimension but the first of size 1.

    A unit is a slice of the first dimension; a vector is one unit, whose norm is a scalar. Of a sharded tensor the
    units are returned of which this process has a part.

    Args:
        tensors: the tensors.
        least: norms below this need not be exact, only below it.

    Example:
        >>> unit_norms([torch.tensor([[3.0, 4.0], [6.0, 8.0]])])
        [tensor([[ 5.],
                [10.]])]
    """
    if not any(is_distributed(tensor) for tensor in tensors):
        return _local_unit_norms(tensors, least)
    norms = [norm.double() for norm in _local_unit_norms([shard(tensor) for tensor in tensors], least)]
    vectors = [tensor if tensor.ndim < 2 else norm for tensor, norm in zip(tensors, norms, strict=True)]
    norms = join_shards(norms, vectors, _joined_norms)
    others = [norm if tensor.ndim < 2 else tensor for tensor, norm in zip(tensors, norms, strict=True)]
    return join_shards(norms, others, _joined_norms, whole_dimension=0)


def _local_unit_norms(tensors: Sequence[Tensor], least: float) -> list[Tensor]:
    """The norms of units; on a CPU in float32 where that is enough."""
    tensors = [tensor.abs() if tensor.is_complex() else tensor for tensor in tensors]
    if not tensors or not tensors[0].is_cpu or any(is_batchedtensor(tensor) for tensor in tensors):
        return [_wide_unit_norms(tensor) for tensor in tensors]
    are_vectors = [_is_narrow_vector(tensor) for tensor in tensors]
    vectors = [*compress(tensors, are_vectors)]
    of_vectors = iter(torch._foreach_norm(vectors, 2, dtype=torch.float32) if vectors else ())
    pairs = zip(tensors, are_vectors, strict=True)
    norms = [next(of_vectors) if is_vector else _matrix_unit_norms(tensor) for tensor, is_vector in pairs]
    all_norms = _flatten_dense_tensors(norms)  # type: ignore[no-untyped-call]
    doubtful = _doubtful(all_norms, -1.0 if least > VANISHING else VANISHING)
    if doubtful:
        ends = np.cumsum([norm.numel() for norm in norms])
        for index in np.unique(np.searchsorted(ends, doubtful, side="right")):
            norms[index] = _wide_unit_norms(tensors[index])
    return norms


def _is_narrow_vector(tensor: Tensor) -> bool:
    return tensor.ndim < 2 and tensor.dtype != torch.float64 and tensor.numel() <= BLOCK


def _matrix_unit_norms(tensor: Tensor) -> Tensor:
    is_narrow = tensor.ndim > 1 and tensor.dtype != torch.float64 and tensor.numel() <= BLOCK * len(tensor)
    return _unscaled_unit_norms(tensor, torch.float32) if is_narrow else _wide_unit_norms(tensor)


def _unscaled_unit_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    wider = None if tensor.dtype == dtype else dtype  # a type that is asked for costs time even where it is there
    norms: Tensor = torch.linalg.vector_norm(tensor, 2, _inner(tensor), keepdim=tensor.ndim > 1, dtype=wider)
    return norms


def _wide_unit_norms(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float64 or tensor.numel() == 0:
        return _unscaled_unit_norms(tensor, wide_type(tensor))
    scale = safe_scale(tensor.abs().amax(_inner(tensor), keepdim=tensor.ndim > 1))
    return _unscaled_unit_norms(tensor / scale, torch.float64) * scale


def _inner(tensor: Tensor) -> tuple[int, ...]:
    """The dimensions within a unit."""
    return tuple(range(1, tensor.ndim)) or tuple(range(tensor.ndim))


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
        return _unscaled_part_norms(matrix.to(wide_type(matrix)), sizes)
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


def wide_type(tensor: Tensor) -> torch.dtype:
    """Return the widest type of real numbers on the tensor's device: float64, but float32 on Apple's GPUs."""
    return torch.float32 if tensor.is_mps else torch.float64


def _padded(tensor: Tensor) -> Tensor:
    """A tensor that is not empty, and so has a largest element."""
    return tensor if tensor.numel() else tensor.new_zeros(1)
