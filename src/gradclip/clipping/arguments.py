"""What the constructors of clippers refuse. A tensor passes: it may hold one value for each of many replicas."""

from torch import Tensor

from gradclip.errors import ClippingError


def check_positive(**arguments: float | Tensor | None) -> None:
    """Refuse numbers that are not above zero; None passes.

    Raises:
        ClippingError: with the name of the argument, the value received and what is allowed.

    Example:
        >>> check_positive(value=-1.0)
        Traceback (most recent call last):
        gradclip.errors.ClippingError: value: got -1.0; must be above 0
    """
    for name, value in arguments.items():
        if value is not None and not isinstance(value, Tensor) and not value > 0:
            raise ClippingError(f"{name}: got {value}; must be above 0")


def check_range(lowest: float, highest: float, **arguments: float | Tensor | None) -> None:
    """Refuse numbers outside a range, whose ends are allowed; None passes.

    Raises:
        ClippingError: as :func:`check_positive`.
    """
    for name, value in arguments.items():
        if value is not None and not isinstance(value, Tensor) and not lowest <= value <= highest:
            raise ClippingError(f"{name}: got {value}; must be from {lowest:g} to {highest:g}")


def check_share(**arguments: float | Tensor) -> None:
    """Refuse numbers that are no share of what was.

    Raises:
        ClippingError: as :func:`check_positive`.
    """
    for name, value in arguments.items():
        if not isinstance(value, Tensor) and not 0 <= value < 1:
            raise ClippingError(f"{name}: got {value}; must be at least 0 and below 1")


def check_count(**arguments: int | Tensor) -> None:
    """Refuse what is no whole number from 1 on.

    Raises:
        ClippingError: as :func:`check_positive`.
    """
    for name, value in arguments.items():
        if not isinstance(value, Tensor) and (not value >= 1 or value % 1):
            raise ClippingError(f"{name}: got {value}; must be a whole number from 1 on")
