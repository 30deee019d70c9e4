"""Norms of tensors that neither overflow nor underflow.

``torch.nn.utils.clip_grad_norm_`` squares the elements in their own type, so a float32 gradient of finite elements
near 1e20 has an infinite norm and is scaled to zero. Here elements are squared in float64, or first divided by the
largest magnitude, as in LAPACK's ``lassq`` (Anderson 2017, "Algorithm 978: Safe Scaling in the Level 1 BLAS").
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch._utils import _flatten_dense_tensors

from gradclip.norms import gpu
from gradclip.norms.cpu import BLOCK, MAX_GROUP, SMALL, unchecked_norms
from gradclip.sharding import is_distributed, join_shards, shard

LARGE = 100_000  # elements; from this number on, widening costs a CPU more than a second pass
VANISHING = 1e-12  # in smaller float32 norms, some squares underflowed


def tensor_norms(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm of each tensor, L2 by default, ``[tensors]``, in float64.

    The norms of sharded tensors (``DTensor``) are joined over the mesh, so each process has the norms of the whole.

    Example:
        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([[6e20, 8e20]])])
        tensor([5.0000e+00, 1.0000e+21], dtype=torch.float64)
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if order in (2, torch.inf) and gpu.is_quicker(tensors):
        measures = gpu.measure(tensors)
        return measures.norms if order == 2 else measures.largest
    if any(is_distributed(tensor) for tensor in tensors):
        norms = tensor_norms([shard(tensor) for tensor in tensors], order)
        return torch.stack(join_shards(norms.unbind(), tensors, partial(joined_norms, order=order)))
    if any(tensor.is_complex() for tensor in tensors):
        return tensor_norms([as_real(tensor) if order == 2 else tensor.abs() for tensor in tensors], order)
    if any(is_batchedtensor(tensor) for tensor in tensors):  # torch.vmap supports no calls for all tensors at once
        return torch.stack([_norm(_nonempty(tensor), order) for tensor in tensors])
    return _norms_in_few_calls(tensors, order)


def norms_and_largest(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the L2 norm of each tensor, ``[tensors]``, and the largest magnitude of all elements, a scalar.

    A CPU measures both for each block while it is in the cache.

    Example:
        >>> norms_and_largest([torch.tensor([3.0, -4.0]), torch.tensor([1.0])])
        (tensor([5., 1.], dtype=torch.float64), tensor(4., dtype=torch.float64))
    """
    if not are_narrow_on_cpu(tensors):
        return tensor_norms(tensors), global_norm(tensors, torch.inf)
    extremes: list[Tensor] = []
    norms = _checked(unchecked_norms(tensors, 2, extremes), tensors, 2)
    return norms, torch.stack(extremes).abs().amax().double() if extremes else norms.new_zeros(())


def change_norms(tensors: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor's change, ``[tensors]``, in float64.

    Args:
        tensors: the tensors now.
        before: the same tensors earlier, with the same shapes and types.

    Example:
        >>> change_norms([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 2.0])])
        tensor([2.], dtype=torch.float64)
    """
    if gpu.can_measure(tensors, before):
        return gpu.change_norms(tensors, before)
    if are_narrow_on_cpu(tensors):
        return _checked(unchecked_norms(tensors, 2, minus=before), tensors, 2, before)
    if any(is_distributed(tensor) for tensor in tensors):  # one call cannot mix sharded and ordinary tensors
        return tensor_norms([tensor - earlier for tensor, earlier in zip(tensors, before, strict=True)])
    return tensor_norms(torch._foreach_sub(list(tensors), list(before)))


def global_norm(tensors: Sequence[Tensor], order: float = 2.0) -> Tensor:
    """Return the norm over all elements of all tensors, L2 by default, a scalar.

    It is NaN if an element is NaN, and infinite only if an element is infinite.

    Example:
        >>> global_norm([torch.tensor([3e20]), torch.tensor([4e20])])
        tensor(5.0000e+20, dtype=torch.float64)
    """
    norms = tensor_norms(_with_small_joined(tensors) if order == torch.inf else tensors, order)
    are_narrow = not {torch.float64, torch.complex128} & {tensor.dtype for tensor in tensors}
    if order == 2 and are_narrow:  # the squares of the norms, in float64, cannot overflow
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


def part_norms(matrix: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the L2 norm of each part of each row, ``[rows, parts]``.

    Args:
        matrix: ``[rows, elements]``, such as the flattened gradients of each replica.
        sizes: number of elements in each part, in order.

    Example:
        >>> part_norms(torch.tensor([[3.0, 4.0, -2.0]]), [2, 1])
        tensor([[5., 2.]], dtype=torch.float64)
    """
    if matrix.dtype != torch.float64:
        if matrix.is_cpu and max(sizes) <= BLOCK:  # the check does not synchronize, and widening all would take longer
            norms = _unscaled_part_norms(matrix, sizes).double()
            if not doubtful_norms(norms):
                return norms
        return _unscaled_part_norms(matrix.to(wide_type(matrix)), sizes)
    finite = matrix.abs().nan_to_num(nan=0.0, posinf=0.0)
    scale = safe_scale(finite.amax(dim=1, keepdim=True))  # squares of float64 numbers may overflow
    return _unscaled_part_norms(matrix / scale, sizes) * scale


def are_narrow_on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Return whether these are ordinary tensors on a CPU that are first measured in float32."""
    are_known = bool(tensors) and all(tensor.is_cpu and tensor.dtype in gpu.NARROW for tensor in tensors)
    return are_known and not any(is_distributed(tensor) or is_batchedtensor(tensor) for tensor in tensors)


def doubtful_norms(norms: Tensor, least: float = 0.0) -> list[int]:
    """Return which norms over- or underflowed in float32 on a CPU; below ``least`` they need not be exact."""
    vanishing = -1.0 if least > VANISHING else VANISHING
    smallest, largest = torch.aminmax(_nonempty(norms))
    if vanishing < smallest.item() and largest.item() < torch.inf:  # both are false for NaN
        return []
    indices: list[int] = torch.nonzero(~((norms > vanishing) & norms.isfinite())).flatten().tolist()
    return indices


def joined_norms(norms: Tensor, order: float = 2.0) -> Tensor:
    """Return the norms of tensors from those of their shards, ``[shards, ...]``."""
    scale = safe_scale(norms.amax(0))
    joined: Tensor = torch.linalg.vector_norm(norms / scale, order, dim=0) * scale
    return joined


def safe_scale(largest: Tensor) -> Tensor:
    """Return the divisor before squaring: the largest magnitude, or 1 if that is 0 or not finite."""
    return torch.where((largest > 0) & torch.isfinite(largest), largest, torch.ones_like(largest))


def wide_type(tensor: Tensor) -> torch.dtype:
    """Return the widest type of real numbers on the tensor's device: float64, but float32 on Apple's GPUs."""
    return torch.float32 if tensor.is_mps else torch.float64


def as_real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as pairs of real numbers, ``[..., 2]``, like torch's optimizers; others are unchanged.

    Example:
        >>> as_real(torch.tensor([3 + 4j]))
        tensor([[3., 4.]])
    """
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _norms_in_few_calls(tensors: Sequence[Tensor], order: float) -> Tensor:
    """Return the norms of real tensors by as few calls as their device and types allow."""
    if order == torch.inf:
        return _largest_magnitudes([_nonempty(tensor) for tensor in tensors])
    if order not in (1, 2) or torch.float64 in {tensor.dtype for tensor in tensors}:
        return torch.stack([_norm(_nonempty(tensor), order) for tensor in tensors])
    if tensors[0].is_cpu:
        return _checked(unchecked_norms(tensors, order), tensors, order)
    return torch.stack(torch._foreach_norm(list(tensors), order, dtype=wide_type(tensors[0])))


def _largest_magnitudes(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norms of infinite order; a CPU finds both extremes ten times as fast."""
    if not tensors[0].is_cpu:
        return torch.stack(torch._foreach_norm(list(tensors), torch.inf)).to(wide_type(tensors[0]))
    extremes = torch.stack([extreme for tensor in tensors for extreme in torch.aminmax(tensor)])
    return extremes.view(-1, 2).abs().amax(dim=1).double()


def _checked(norms: Tensor, tensors: Sequence[Tensor], order: float, before: Sequence[Tensor] | None = None) -> Tensor:
    """Return the norms, measured again in a wider type where they over- or underflowed in float32.

    The tensors are on a CPU, where reading a value does not synchronize.

    Args:
        norms: the norm of each tensor, or of its change, measured in float32, ``[tensors]``; changed in place.
        tensors: the tensors.
        order: the order of the norm.
        before: the earlier tensors, if the norms are those of changes.
    """
    for index in doubtful_norms(norms):
        tensor = tensors[index] if before is None else tensors[index] - before[index]
        norms[index] = _norm(_nonempty(tensor), order)
    return norms


def _norm(tensor: Tensor, order: float) -> Tensor:
    """Return the norm of one tensor: widened if small; scaled first if large or if its powers may overflow."""
    if order in (2, torch.inf) and tensor.dtype != torch.float64 and (tensor.numel() < LARGE or tensor.is_cuda):
        norm: Tensor = torch.linalg.vector_norm(tensor, order, dtype=torch.float64)
        return norm
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    scale = safe_scale(torch.stack(torch.aminmax(wide)).abs().amax())
    scaled_norm: Tensor = torch.linalg.vector_norm(wide / scale, order, dtype=torch.float64)
    return scaled_norm * scale.double()


def _with_small_joined(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Replace small tensors on a CPU by their joint extremes, which is faster and keeps the largest magnitude.

    The small tensors are copied together in groups that stay in the cache.
    """
    if not all(tensor.is_cpu for tensor in tensors) or any(is_batchedtensor(tensor) for tensor in tensors):
        return tensors
    small = [tensor for tensor in tensors if tensor.numel() <= SMALL]
    if len(small) < MAX_GROUP or any(is_distributed(tensor) for tensor in tensors):
        return tensors
    small = [tensor.abs() if tensor.is_complex() else tensor for tensor in small]
    large = [tensor for tensor in tensors if tensor.numel() > SMALL]
    groups = [small[start : start + MAX_GROUP] for start in range(0, len(small), MAX_GROUP)]
    joined = (_flatten_dense_tensors(group) for group in groups)  # type: ignore[no-untyped-call]
    return large + [torch.stack(torch.aminmax(_nonempty(elements))) for elements in joined]


def _unscaled_part_norms(matrix: Tensor, sizes: Sequence[int]) -> Tensor:
    parts = torch.split(matrix, list(sizes), dim=1)
    return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], dim=1)


def _nonempty(tensor: Tensor) -> Tensor:
    """Return the tensor, or a zero if it is empty, so that there is a largest element."""
    return tensor if tensor.numel() else tensor.new_zeros(1)
