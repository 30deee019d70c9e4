"""Ranges of the numbers that users give, with one wording of the errors.

A clipper declares its ranges beside the types of its fields: ``value: Annotated[float | Tensor, POSITIVE]``. Its
constructor checks them, and the settings under ``conf/clip`` are derived from them. This module does not import torch,
so settings can be checked without it.
"""

from dataclasses import dataclass
from math import inf, isfinite, isinf, nan
from numbers import Real
from typing import Any

from gradclip.errors import ClippingError, GradclipError


@dataclass(frozen=True)
class Range:
    """An interval of allowed numbers.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        above_low: whether the lower bound itself is excluded.
        below_high: whether the upper bound itself is excluded.
        whole: whether only whole numbers are allowed.
        multiple_of: the number of which only multiples are allowed, in a range of whole numbers.
        infinite: whether a config may set infinity. A constructor allows it wherever the bounds do.

    Example:
        >>> str(Range(0, 1, below_high=True)), str(Range(0, 100))
        ('a number of at least 0 and below 1', 'a number from 0 to 100')
    """

    low: float = -inf
    high: float = inf
    above_low: bool = False
    below_high: bool = False
    whole: bool = False
    multiple_of: int = 1
    infinite: bool = False

    def check(self, name: str, value: object, error: type[GradclipError] = ClippingError) -> Any:
        """Return a number in this range as a plain float, or as a plain integer if the range is of whole numbers.

        Args:
            name: name of the argument, for the message.
            value: the value received.
            error: the exception to raise.

        Raises:
            GradclipError: the value is not such a number; the exception is of the given class.

        Example:
            >>> POSITIVE.check("value", -1.0)
            Traceback (most recent call last):
            gradclip.errors.ClippingError: value: got -1.0; must be a number above 0
        """
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        number = as_float(value) if is_real else nan
        if isinf(number) and number != value:
            raise error(f"{name}: got an integer larger than any float; must be {self}")
        if not self._contains(number):
            raise error(f"{name}: got {value if is_real else repr(value)}; must be {self}")
        return int(number) if self.whole else number

    def check_optional(self, name: str, value: object, error: type[GradclipError] = ClippingError) -> Any:
        """Return None unchanged, and any other value as :meth:`check` does.

        Args:
            name: name of the argument, for the message.
            value: the value received.
            error: the exception to raise.

        Raises:
            GradclipError: the value is neither None nor such a number; the exception is of the given class.
        """
        return None if value is None else self.check(name, value, error)

    def _contains(self, value: float) -> bool:
        high_enough = value > self.low if self.above_low else value >= self.low
        low_enough = value < self.high if self.below_high else value <= self.high
        return high_enough and low_enough and (not self.whole or value % self.multiple_of == 0)

    def __str__(self) -> str:
        if self.whole:
            kind = "whole number" if self.multiple_of == 1 else f"multiple of {self.multiple_of}"
            return f"a {kind} from {self.low:.0f} to {self.high:.0f}"
        if not (self.above_low or self.below_high):
            return f"a number from {self.low:g} to {self.high:g}"
        lower = f"above {self.low:g}" if self.above_low else f"of at least {self.low:g}"
        upper = f"below {self.high:g}" if self.below_high else f"at most {self.high:g}"
        ends = [text for text, end in ((lower, self.low), (upper, self.high)) if isfinite(end)]
        return f"a number {' and '.join(ends)}"


def counts_from(low: int, multiple_of: int = 1) -> Range:
    """Return the range of the whole numbers from a lower bound up to the largest that torch counts with."""
    return Range(low, 2**31 - 1, whole=True, multiple_of=multiple_of)


LARGEST = 3.4e38  # just below the largest float32
POSITIVE = Range(low=0, above_low=True)
AT_LEAST_1 = Range(low=1, infinite=True)
AT_MOST_0 = Range(high=0)
FRACTION_OR_ZERO = Range(low=0, high=1, below_high=True)
DECAY_RATE = FRACTION_OR_ZERO  # fraction of an old average that is kept at each step
PERCENTILE = Range(low=0, high=100)
COUNT = counts_from(1)
COUNT_OR_ZERO = counts_from(0)
FIXED = "fixed"  # marks a number that selects the computation or the size of the state: all stacked replicas share it


def as_float(value: Any) -> float:
    """Return a number as a float; infinity for an integer too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
