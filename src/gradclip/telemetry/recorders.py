"""Recorders, which measure optimizer steps on the device and transfer the results in blocks of many steps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from gradclip.arrays import Floats
from gradclip.norms.arrays import row_part_norms
from gradclip.norms.tensors import change_norms, tensor_norms
from gradclip.sharding import is_distributed, to_local
from gradclip.telemetry.measures import inner_product, measure_gradients
from gradclip.telemetry.rescaled import GradientVersions, Sample
from gradclip.telemetry.steps import Effect, Recorder, to_array

SMALL_NETWORK = 1_000_000  # parameters; up to this size, a copy at every step costs almost nothing
COPY_LIMIT = 50_000  # trained parameters; their copies for a block of steps take a few megabytes


class CopyingRecorder(Recorder):
    """Recorder for small networks: copies all elements at each step, by a few calls, and measures a block at once."""

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], effect: Effect) -> None:
        super().__init__(named_parameters, effect)
        self._offsets = np.cumsum([0, *(weight.numel() for weight in self._weights())])[:-1]
        self._copies: list[Tensor] = []  # for each step: weights and gradients before it, clipped gradients, weights

    def _start_step(self, measure_updates: bool) -> None:
        self._before = _flat([*self._weights(), *self._gradients()])

    def _measure_gradients(self) -> None:
        gradients = _flat(self._gradients())
        self._before[gradients.numel() :] = gradients

    def _measure_clipped(self) -> None:
        self._clipped = _flat(self._gradients())

    def _measure_weights(self) -> None:
        self._after = _flat(self._weights())

    def _keep(self) -> None:
        self._copies += [self._before, self._clipped, self._after]

    def _flush_columns(self) -> dict[str, Floats]:
        size = self._after.numel()
        rows: Floats = torch.cat(self._copies).view(-1, 4, size).cpu().double().numpy()
        self._copies = []
        weights_before, before, after, weights = rows.swapaxes(0, 1)
        nothing = np.full(len(rows), np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            of_parts = row_part_norms(rows[:, 1:].reshape(-1, size), self._offsets).reshape(len(rows), 3, -1)
            norms, norms_clipped, norms_of_weights = of_parts.swapaxes(0, 1)
            return {
                "max_abs": np.abs(before).max(axis=1),
                "inner_product": (before * after).sum(axis=1) if self.effect is Effect.ANY else nothing,
                "nonfinite": self._nonfinite_counts(before, norms),
                "norms": norms,
                "norms_clipped": norms_clipped,
                "weights": norms_of_weights,
                "updates": row_part_norms(weights - weights_before, self._offsets),
            }

    def _nonfinite_counts(self, rows: Floats, norms: Floats) -> Floats:
        if np.isfinite(norms).all():
            return np.zeros_like(norms)
        return np.add.reduceat(~np.isfinite(rows), self._offsets, axis=1, dtype=np.float64)


class MeasuringRecorder(Recorder):
    """Recorder for all other networks: measures at each step, and stores norms and scalars only.

    For a sharded parameter, each process records the norm of the whole parameter. All processes must record the same
    steps.
    """

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], effect: Effect) -> None:
        super().__init__(named_parameters, effect)
        self._weights_before = [torch.empty_like(weight) for weight in self._weights()]
        self._is_sharded = any(is_distributed(parameter) for parameter in self.parameters)
        self._measure_updates = False
        self._rows: dict[str, list[list[Tensor]]] = {"norms": [], "values": [], "nonfinite": []}

    def _start_step(self, measure_updates: bool) -> None:
        self._measure_gradients()
        self._measure_updates = measure_updates
        if measure_updates:
            torch._foreach_copy_([to_local(w) for w in self._weights_before], [to_local(w) for w in self._weights()])

    def _measure_gradients(self) -> None:
        gradients = self._gradients()
        self._norms_before, self._largest, self._nonfinite = measure_gradients(gradients)
        may_be_known = self.effect is not Effect.ANY and not self._is_sharded
        self._unclipped = _copies(gradients) if self.effect is Effect.ANY else None
        self._versions = GradientVersions(self.parameters) if may_be_known else None
        is_multiplied = may_be_known and self.effect is Effect.FACTOR
        self._sample = Sample(gradients, self._norms_before) if is_multiplied else None

    def _measure_clipped(self) -> None:
        gradients = self._gradients()
        norms = self._known_norms(gradients)
        self._norms_after = tensor_norms(gradients) if norms is None else norms
        product = torch.full_like(self._largest, torch.nan)
        if self._unclipped is not None:
            product = inner_product(gradients, self._unclipped)
        self._values = [product, self._largest]
        self._versions = self._sample = self._unclipped = None  # these hold gradients

    def _measure_weights(self) -> None:
        weights = self._weights()
        updates = torch.full_like(self._norms_before, torch.nan)
        if self._measure_updates:
            updates = change_norms(weights, self._weights_before)
        self._norms = [self._norms_before, self._norms_after, tensor_norms(weights), updates]

    def _known_norms(self, gradients: list[Tensor]) -> Tensor | None:
        """Return the norms after clipping, derived from those before; None if the change is not known."""
        changes = None if self._versions is None else self._versions.count_changes(self.parameters)
        if changes == 0:
            return self._norms_before
        coefficient = self._sample.coefficient(gradients) if changes == 1 and self._sample is not None else None
        return None if coefficient is None else self._norms_before * coefficient

    def _keep(self) -> None:
        self._rows["norms"].append(self._norms)
        self._rows["values"].append(self._values)
        self._rows["nonfinite"].append([self._nonfinite])

    def _flush_columns(self) -> dict[str, Floats]:
        arrays = {name: to_array(rows) for name, rows in self._rows.items()}
        self._rows = {name: [] for name in self._rows}
        products, max_abs = arrays["values"].T
        norms, norms_clipped, weights, updates = np.split(arrays["norms"], 4, axis=1)
        return {
            "max_abs": max_abs,
            "inner_product": products,
            "nonfinite": arrays["nonfinite"],
            "norms": norms,
            "norms_clipped": norms_clipped,
            "weights": weights,
            "updates": updates,
        }


def make_recorder(named_parameters: Sequence[tuple[str, nn.Parameter]], effect: Effect) -> Recorder:
    """Return the cheapest recorder for these parameters; the arguments are those of :class:`Recorder`."""
    parameters = [parameter for _, parameter in named_parameters]
    is_small = sum(parameter.numel() for parameter in parameters) <= COPY_LIMIT
    can_copy = is_small and not any(is_distributed(parameter) for parameter in parameters)
    kind = CopyingRecorder if can_copy else MeasuringRecorder
    return kind(named_parameters, effect)


def default_updates_every(parameters: int) -> int:
    """Return the default of ``updates_every``, in optimizer steps, for a network with this many parameters."""
    return 1 if parameters <= SMALL_NETWORK else 10


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return a copy of each tensor, by a single call."""
    copies = [torch.empty_like(tensor) for tensor in tensors]
    torch._foreach_copy_([to_local(copy) for copy in copies], [to_local(tensor) for tensor in tensors])
    return copies


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return a copy of all elements, one tensor after the other, by a single call."""
    flat: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat.clone() if len(tensors) == 1 else flat  # for one tensor it is a view, which clipping would change
