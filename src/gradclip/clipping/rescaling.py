"""Multiplication of gradients by coefficients, and operations in place on gradients."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from gradclip.norms.tensors import as_real
from gradclip.sharding import map_local, to_local

WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes
Coefficients = Tensor | Sequence[Tensor | None]


def copy_into(gradients: Mapping[str, Tensor], clipped: Mapping[str, Tensor]) -> None:
    """Copy clipped gradients into the memory of the original gradients."""
    if gradients:
        local = [to_local(gradient) for gradient in gradients.values()]
        torch._foreach_copy_(local, [to_local(clipped[name]) for name in gradients])


def rescale(gradients: Mapping[str, Tensor], coefficients: Coefficients) -> dict[str, Tensor]:
    """Return gradients multiplied by coefficients.

    An infinite gradient times a coefficient of zero is NaN, so non-finite gradients are never hidden. Coefficients are
    not rounded to 16 bits, where small ones would become zero.

    Args:
        gradients: gradients by parameter name.
        coefficients: one scalar for all gradients; one for each gradient, ``[gradients]``; or a list, in the order of
            the gradients, of tensors that broadcast against them, with None for a gradient that stays unchanged.
    """
    pairs = zip(gradients.items(), _for_each(coefficients, len(gradients)), strict=True)
    return {name: map_local(partial(_multiply, coefficient=factor), gradient) for (name, gradient), factor in pairs}


def rescale_in_place(gradients: Mapping[str, Tensor], coefficients: Coefficients) -> None:
    """Multiply gradients as :func:`rescale` does, in place; 16-bit and complex ones need new memory."""
    types = {gradient.dtype for gradient in gradients.values()}
    if not gradients:
        return
    if any(dtype.itemsize < 4 or dtype.is_complex for dtype in types):
        copy_into(gradients, rescale(gradients, coefficients))
        return
    if isinstance(coefficients, Tensor) and coefficients.is_cpu and {*coefficients.reshape(-1).tolist()} == {1.0}:
        return  # nothing is clipped; on a CPU, reading a value does not synchronize
    local = [to_local(gradient) for gradient in gradients.values()]
    if isinstance(coefficients, Tensor):
        factors = coefficients.float() if types == {torch.float32} else coefficients
        torch._foreach_mul_(local, factors if factors.ndim == 0 else list(factors.unbind()))
        return
    rescaled = [(gradient, factor) for gradient, factor in zip(local, coefficients, strict=True) if factor is not None]
    if rescaled:
        torch._foreach_mul_([gradient for gradient, _ in rescaled], [factor for _, factor in rescaled])


def clear_where(condition: Tensor, gradients: Mapping[str, Tensor]) -> None:
    """Set gradients to zero in place if a boolean scalar is true, without reading it.

    The bits are multiplied as integers, so that even NaN times zero is zero. One call serves all gradients of a type.
    """
    words: dict[torch.dtype, list[Tensor]] = {}
    for gradient in map(to_local, gradients.values()):
        if gradient.is_complex():
            gradient.masked_fill_(condition, 0.0)
        else:
            word = WORDS[gradient.dtype.itemsize]
            words.setdefault(word, []).append(gradient.view(word))
    for dtype, views in words.items():
        torch._foreach_mul_(views, condition.logical_not().to(dtype))


def _for_each(coefficients: Coefficients, gradients: int) -> Sequence[Tensor | None]:
    if isinstance(coefficients, Tensor):
        return coefficients.unbind() if coefficients.ndim else [coefficients] * gradients
    return coefficients


def _multiply(gradient: Tensor, coefficient: Tensor | None) -> Tensor:
    if coefficient is None:
        return gradient
    if gradient.is_complex():
        real = coefficient.unsqueeze(-1) if coefficient.ndim else coefficient
        return torch.view_as_complex(_multiply(as_real(gradient), real))
    wide = torch.promote_types(gradient.dtype, torch.float32)
    return (gradient.to(wide) * coefficient.to(wide)).to(gradient.dtype)
