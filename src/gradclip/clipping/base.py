"""The base classes of clippers, and the contract that clippers follow."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, NamedTuple, get_args, get_type_hints

import torch
from torch import Tensor

from gradclip.clipping.rescaling import copy_into, rescale, rescale_in_place
from gradclip.errors import ClippingError
from gradclip.norms.tensors import global_norm
from gradclip.ranges import FIXED, Range
from gradclip.sharding import is_distributed, join_shards, to_local

Gradients = Mapping[str, Tensor]  # by parameter name, each with its parameter's shape
State = Mapping[str, Tensor]  # the state of an adaptive method; empty for other methods


class Report(NamedTuple):
    """Report of a clipped step, as scalar tensors on the gradients' device.

    Attributes:
        norm: global L2 norm before clipping, in loss units per weight unit.
        norm_clipped: global L2 norm after clipping.
        clipped: whether any gradient was changed.
        skipped: whether the optimizer must skip the whole update.
    """

    norm: Tensor
    norm_clipped: Tensor
    clipped: Tensor
    skipped: Tensor


class Clipper(ABC):
    """A pure transform of named gradients: it changes no input and reads no tensor's value.

    The same object therefore runs in place on ``.grad`` in a Lightning loop and under ``torch.vmap`` over many
    replicas. A clipper uses tensor operations only: no ``.item()``, and no Python branch on a tensor's value.

    A new clipper is a frozen dataclass with a :meth:`transform`. If it multiplies gradients by coefficients, it is a
    :class:`Rescaler` with :meth:`~Rescaler.coefficients` instead. If it keeps a state between steps, it also has an
    :meth:`init`. Training loops call :meth:`clip_in_place`, which a method may override to avoid a copy. The range of a
    number is declared beside its type, and the constructor checks it. It does not read tensors, which hold one value
    per replica.

    Attributes:
        changes_direction: whether clipping can change the direction of the gradient and not only its length.
        may_skip: whether :attr:`Report.skipped` can be true.
        limits: the field that limits each quantity: the global L2 ``norm`` after clipping, or each element's ``value``.
        limits_when: the settings under which ``limits`` holds, by name.

    Example:
        A clipper that limits the global norm only after some steps, which it counts:

        >>> from dataclasses import dataclass
        >>> from typing import Annotated
        >>> from gradclip.ranges import COUNT, POSITIVE
        >>> @dataclass(frozen=True)
        ... class Delayed(Rescaler):
        ...     value: Annotated[float | Tensor, POSITIVE]  # the threshold, in loss units per weight unit
        ...     delay: Annotated[int, COUNT] = 100  # steps
        ...
        ...     def init(self, parameters):
        ...         return {"steps": torch.zeros((), dtype=torch.int64, device=device_of(parameters))}
        ...
        ...     def coefficients(self, gradients, parameters, state):
        ...         coefficient = torch.clamp(self.value / global_norm([*gradients.values()]), max=1.0)
        ...         coefficient = torch.where(state["steps"] < self.delay, 1.0, coefficient)
        ...         return coefficient, {"steps": state["steps"] + 1}

        The training loop passes the state from step to step:

        >>> clipper = Delayed(value=1.0, delay=1)
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> state = clipper.init(gradients)
        >>> for _ in range(2):
        ...     clipped, state, report = clipper(gradients, gradients, state)
        ...     print(clipped["weight"], bool(report.clipped))
        tensor([3., 4.]) False
        tensor([0.6000, 0.8000]) True
        >>> Delayed(value=0.0)
        Traceback (most recent call last):
        gradclip.errors.ClippingError: value: got 0.0; must be a number above 0
    """

    changes_direction: ClassVar[bool] = False
    may_skip: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, str]] = {}
    limits_when: ClassVar[Mapping[str, object]] = {}

    def __post_init__(self) -> None:
        """Check the numbers of a dataclass, and convert them to plain floats and integers.

        Raises:
            ClippingError: a number is outside the range declared beside its type, or a tensor is not a scalar.
        """
        for name, (allowed, is_optional, is_fixed) in _ranges(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, Tensor) and not is_fixed:
                if value.ndim:
                    raise ClippingError(f"{name}: got a tensor of shape {[*value.shape]}; must be a scalar")
            elif value is not None or not is_optional:
                object.__setattr__(self, name, allowed.check(name, value))  # the dataclass is frozen

    def init(self, parameters: Gradients) -> State:
        """Return the state before the first step; empty for a method without a state.

        Args:
            parameters: the parameters to clip, by name.

        Returns:
            Tensors by name, on the parameters' device. Names, shapes and types stay the same at every step.
        """
        return {}

    @abstractmethod
    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the clipped gradients and the next state, without changing the arguments.

        Args:
            gradients: gradients by parameter name, each with its parameter's shape, in loss units per weight unit.
            parameters: parameters by the same names, for methods that compare a gradient with its weights.
            state: the state from :meth:`init` or from the previous step.

        Returns:
            The clipped gradients, with the same names, order, shapes and types; and the state after this step, with the
            same names, shapes and types as before.
        """

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether the optimizer must skip the whole update; called only if ``may_skip`` is set.

        Args:
            state: the state before the step.
            after: the state that :meth:`transform` returned.

        Returns:
            A boolean scalar on the gradients' device.
        """
        raise NotImplementedError(f"{type(self).__name__} sets may_skip but does not define skips")

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clip gradients in place as :meth:`transform` does, and return the next state.

        This default copies the result back; a method may override it to avoid the copy. Autograd must be disabled.

        Args:
            gradients: gradients by parameter name, which are changed.
            parameters: parameters by the same names.
            state: the state from :meth:`init` or from the previous step.
        """
        clipped, after = self.transform(gradients, parameters, state)
        copy_into(gradients, clipped)
        return after

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return the clipped gradients and the next state, as :meth:`transform` does, and a report of the step."""
        clipped, after = self.transform(gradients, parameters, state)
        skipped = self.skips(state, after) if self.may_skip else None
        return clipped, after, _report(gradients, clipped, skipped)


@cache
def _ranges(kind: type[Clipper]) -> dict[str, tuple[Range, bool, bool]]:
    """Return the range of each numeric field of a class, whether it may be None, and whether replicas share it."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # the module imports a name for type checkers only
        hints = kind.__annotations__
    return {
        name: (mark, type(None) in get_args(hint.__origin__), FIXED in hint.__metadata__)
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Range)
    }


class Rescaler(Clipper):
    """A clipper that multiplies gradients by coefficients: one for all, or one for each tensor."""

    @abstractmethod
    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficients by which to multiply the gradients, and the next state.

        Args:
            gradients: gradients by parameter name, each with its parameter's shape, in loss units per weight unit.
            parameters: parameters by the same names.
            state: the state from :meth:`~Clipper.init` or from the previous step.

        Returns:
            One coefficient, a scalar, or one for each gradient in their order, ``[gradients]``; and the state after
            this step, with the same names, shapes and types as before.
        """

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the gradients times their coefficients, and the next state."""
        coefficients, after = self.coefficients(gradients, parameters, state)
        return rescale(gradients, coefficients), after

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Multiply the gradients in place, and return the next state."""
        coefficients, after = self.coefficients(gradients, parameters, state)
        rescale_in_place(gradients, coefficients)
        return after


class CompositeClipper(Clipper):
    """A clipper made of others, its members, whose states are joined into one."""

    @property
    @abstractmethod
    def members(self) -> Sequence[Clipper]:
        """The members in order."""

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """Whether any member may skip an update."""
        return any(clipper.may_skip for clipper in self.members)

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether any member skips the update."""
        members = [(index, clipper) for index, clipper in enumerate(self.members) if clipper.may_skip]
        each = [clipper.skips(member_state(state, index), member_state(after, index)) for index, clipper in members]
        return torch.stack(each).any()


def check_clipper(name: str, clipper: object) -> None:
    """Check that an argument is a clipper and not, for example, a number or a class.

    Raises:
        ClippingError: it is not a clipper.
    """
    if not isinstance(clipper, Clipper):
        raise ClippingError(f"{name}: got {clipper!r}; must be a Clipper, such as gradclip.Norm(1.0)")


def device_of(parameters: Gradients) -> torch.device | None:
    """Return the device of the parameters; None, torch's default, if there are none."""
    return next((parameter.device for parameter in parameters.values()), None)


def _report(before: Gradients, after: Gradients, skipped: Tensor | None) -> Report:
    """Compare gradients before and after clipping; ``skipped`` is None if the clipper never skips."""
    norm, norm_clipped = global_norm([*before.values()]), global_norm([*after.values()])
    never = torch.zeros_like(norm, dtype=torch.bool)
    changed = [_differ(to_local(before[name]), to_local(after[name])).any() for name in before]
    if any(is_distributed(gradient) for gradient in before.values()):
        changed = join_shards(changed, [*before.values()], lambda of_shards: of_shards.any(0))
    clipped = torch.stack(changed).any() if changed else never
    return Report(norm, norm_clipped, clipped, never if skipped is None else skipped)


def _differ(before: Tensor, after: Tensor) -> Tensor:
    """Return where elements changed; NaN counts as equal to NaN."""
    return (before != after) & ~(before.isnan() & after.isnan())


def join_states(states: Sequence[State]) -> dict[str, Tensor]:
    """Join the states of several clippers into one, each under its index."""
    return {f"{index}.{key}": value for index, state in enumerate(states) for key, value in state.items()}


def member_state(state: State, index: int) -> State:
    """Return the state of one member from a joint state; the inverse of :func:`join_states`."""
    prefix = f"{index}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
