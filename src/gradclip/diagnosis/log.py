"""The log of a training run, with columns under our names, and facts about the run that a log does not have."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradclip import keys
from gradclip.arrays import Booleans, Floats, Integers
from gradclip.diagnosis.conditions import DEFAULT_EPSILON
from gradclip.errors import DataError, did_you_mean, first_few
from gradclip.formatting import printable
from gradclip.telemetry.record import GradientRecord

STEP, EPOCH, LEARNING_RATE = "step", "epoch", "learning_rate"
TARGET_MAX_ABS = "target/max_abs"
SKIPPED = "grad/skipped"
UPDATE_NORM, UPDATE_RATIO, WEIGHT_NORM = "update/norm", "update/ratio", "weight/norm"

JOINED_STEP = "global_step"  # step column of joined curves: the first alias, so that no other column is preferred
# Names of our columns in other programs, the most likely first; compared after _plain().
ALIASES = {
    STEP: (JOINED_STEP, "step", "iteration", "iter"),
    EPOCH: ("epoch",),
    keys.GRAD_NORM: (
        *("grad_norm", "gradient_norm", "total_grad_norm", "grad_norm_total", "global_grad_norm", "total_norm"),
        *("grad_norm_before_clipping", "grad_norm_unclipped", "grad_2_0_norm_total", "gradnorm", "gnorm"),
    ),
    keys.GRAD_NORM_CLIPPED: ("grad_norm_clipped", "clipped_grad_norm", "grad_norm_after_clipping"),
    keys.LOSS_STEP: ("loss_step", "loss", "train_loss", "training_loss"),
    LEARNING_RATE: ("learning_rate", "lr"),
    keys.GRAD_MAX_ABS: ("grad_max_abs",),
    TARGET_MAX_ABS: ("target_max_abs",),
}
PREFIX = re.compile(r"^(?:train|training|trainer|optim)_")
LAYERS = re.compile(r"^(?:train/)?(?:grad/norm|grad_norm|gradient_norm|grad_2\.0_norm)/(.+)$")
OURS = re.compile(rf"^({UPDATE_NORM}|{UPDATE_RATIO}|{WEIGHT_NORM})/.+$")
EXTREMES = ("__MIN", "__MAX")  # suffixes of additional columns in exports from W&B's page


@dataclass(frozen=True)
class Log:
    """The log of a training run, one row per step.

    Attributes:
        columns: numbers by the names of our metrics, ``[steps]`` each; the norm of a single tensor ends in its name, as
            in ``grad/norm/layer.weight``. Quantities that were not logged are absent.
        is_before_clipping: whether the norms are known to be measured before clipping.
        is_unscaled: whether the norms are known to be free of the loss scale.
        repeated: number of rows that were dropped because their step was logged again later.
        rows: indices of the selected rows, ``[steps]``; None selects all.
    """

    columns: Mapping[str, NDArray[Any]]
    is_before_clipping: bool = False
    is_unscaled: bool = False
    repeated: int = 0
    rows: Integers | None = None

    @classmethod
    def of_telemetry(cls, columns: Mapping[str, NDArray[Any]]) -> "Log":
        """Return the columns of a gradient record as a log."""
        return cls(columns, is_before_clipping=True, is_unscaled=True)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self[keys.GRAD_NORM])

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Floats:
        """Return a column, ``[steps]``; NaN if it was not logged."""
        if name not in self.columns:
            return np.full(len(self), np.nan)
        column = self.columns[name]
        return np.asarray(column if self.rows is None else column[self.rows], dtype=float)

    def tensors(self, family: str) -> list[str]:
        """Return the names of the tensors with their own column, such as ``grad/norm/<tensor>``."""
        prefix = f"{family}/"
        return [name.removeprefix(prefix) for name in self.columns if name.startswith(prefix)]

    def columns_of(self, family: str) -> Iterator[tuple[str, Floats]]:
        """Yield the name and the column of each tensor with its own column, one at a time: there may be many."""
        yield from ((tensor, self[f"{family}/{tensor}"]) for tensor in self.tensors(family))

    def select(self, rows: Booleans) -> "Log":
        """Return a log with some of the steps."""
        if rows.all():
            return self
        kept = np.flatnonzero(rows)
        return replace(self, rows=kept if self.rows is None else self.rows[kept])


@dataclass(frozen=True)
class Training:
    """Facts about a training run that its log does not have; empty or NaN if they are not known.

    Attributes:
        name: name of the run, for messages.
        run_id: id of the run in the store.
        outcome: ``learned``, ``finished``, ``stalled`` or ``diverged``; if empty, the log is judged.
        is_solved: whether the run solved its task; None if that is not defined.
        optimizer: name of the optimizer, in any spelling.
        learning_rate: the initial learning rate.
        momentum: momentum of SGD.
        epsilon: constant that Adam-like optimizers add to the denominator.
        elements: number of trained weights.
        clip: clipping method, as in ``clip=``; ``none`` for no clipping.
        threshold: threshold of the clipping.
        clip_fraction: fraction of the steps that clipping changed.
        loss: name of the loss, as in ``loss=``.
        schedule: name of the learning-rate schedule, as in ``schedule=``.
        can_scale_target: whether the target is not scaled, and could be.
        initialization: initialization of the weights, as in ``model.initialization=``.
        final_to_best_ratio: ratio of the final to the best error on the examples that choose, at least 1; NaN if not
            known.
        accuracy_gap: final accuracy on the training rows minus that on the rows that choose, 0 if that may be chance;
            NaN if not known.
        final_scores: the final score on each split, as text.
        best_epoch: epoch of the best score.
        chosen_on: the examples that choose the best epoch, ``validation`` or ``test``; or the name of the metric that
            chooses, if it is not known on which examples it was measured; empty without a score.
        fixed_groups: groups of our settings that no remedy can change, since a user-defined module replaces them.
        command: overrides that reproduce the run's settings, without seed and store; None if it is not a run of our
            command.
    """

    name: str = ""
    run_id: str = ""
    outcome: str = ""
    is_solved: bool | None = None
    optimizer: str = ""
    learning_rate: float = np.nan
    momentum: float = 0.0
    epsilon: float = DEFAULT_EPSILON
    elements: int = 0
    clip: str = ""
    threshold: float = np.nan
    clip_fraction: float = np.nan
    loss: str = ""
    schedule: str = ""
    can_scale_target: bool = True
    initialization: str = ""
    final_to_best_ratio: float = np.nan
    accuracy_gap: float = np.nan
    final_scores: str = ""
    best_epoch: int = 0
    chosen_on: str = ""
    fixed_groups: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None


def as_log(data: GradientRecord | Mapping[str, ArrayLike], names: Mapping[str, str] | None = None) -> Log:
    """Convert a record, or columns under any names, to a log in the order of the steps.

    If a step was logged twice, as after a resume, its last row counts. Rows whose norm is None are dropped.

    Args:
        data: a record; or columns by name, as a dictionary or a data frame.
        names: maps our names to columns whose names are not recognized, such as ``{"grad/norm": "total"}``; columns
            of single tensors as a pattern, ``{"grad/norm/*": "norms/*"}``.

    Raises:
        DataError: there is no column of steps or norms, a named column is missing, columns have different lengths, a
            value is not a number, or a norm is negative.
    """
    if isinstance(data, GradientRecord):
        had_gradients = ~np.isnan(data.norm) | ~data.skipped
        return Log.of_telemetry(data.to_columns()).select(had_gradients)
    found = find_columns([str(name) for name in data], names or {})
    arrays = {name: np.asarray(data[column]) for name, column in found.items()}
    norm = arrays[keys.GRAD_NORM]
    for name, column in found.items():
        if arrays[name].shape != (norm.size,):
            got = f"got values of shape {arrays[name].shape}"
            raise DataError(f"log: column {column!r}: {got}; must be one number for each norm")
    logged = np.array([value is not None for value in norm]) if norm.dtype == object else np.full(len(norm), True)
    columns = {name: _numbers(arrays[name][logged], column) for name, column in found.items()}
    for name, column in found.items():
        if name.startswith(keys.GRAD_NORM) and np.any(columns[name] < 0):
            raise DataError(f"log: column {column!r}: got {np.nanmin(columns[name]):g}; a norm cannot be negative")
    step = columns[STEP]
    if not len(step):
        raise DataError(f"log: column {found[keys.GRAD_NORM]!r} has no rows with a number")
    if not np.isfinite(step).all():
        raise DataError(f"log: column {found[STEP]!r}: a step is missing or not finite; every norm needs a step")
    _, last = np.unique(step[::-1], return_index=True)
    order = len(step) - 1 - last
    columns = {name: column[order] for name, column in columns.items()}
    clipped = columns.get(keys.GRAD_NORM_CLIPPED)
    is_before = clipped is not None and bool(np.any(columns[keys.GRAD_NORM] > clipped * 1.0001))
    return Log(columns, is_before, repeated=len(step) - len(order))


def find_columns(columns: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each recognized quantity, by our names.

    Args:
        columns: names of the columns in the log.
        names: maps our names to columns whose names are not recognized.

    Raises:
        DataError: there is no column of steps or norms, several may be the norm, or a named column is missing.
    """
    shown = [column for column in columns if not column.endswith(EXTREMES)]
    found = {name: column for name in ALIASES if (column := _find(name, shown, names.get(name))) is not None}
    for name, what, setting in ((STEP, "steps", "step_column"), (keys.GRAD_NORM, "gradient norms", "norm_column")):
        if name not in found:
            hint = f"name one of {first_few(map(printable, columns))} with {setting}=..." if columns else "it is empty"
            raise DataError(f"log: got no column of {what}; {hint}")
    return found | dict(_find_layers(shown, names.get(f"{keys.GRAD_NORM}/*")))


def _find(name: str, columns: Sequence[str], given: str | None) -> str | None:
    if given is not None:
        if given not in columns:
            hint = did_you_mean(given, columns)
            raise DataError(f"log: got no column {given!r}{hint}; the columns are {first_few(columns)}")
        return given
    aliases = ALIASES[name]
    ranks = {column: aliases.index(_plain(column)) for column in columns if _plain(column) in aliases}
    best = [column for column in ranks if ranks[column] == min(ranks.values())]
    if len(best) > 1 and name == keys.GRAD_NORM:
        raise DataError(
            f"log: got several columns of gradient norms, {first_few(best)}; choose one with norm_column=..."
        )
    return best[0] if best else None


def _plain(column: str) -> str:
    """Return a column's name without the parts that differ between programs.

    Example:
        >>> _plain("train/grad_norm"), _plain("Learning Rate"), _plain("run 7 - train/grad-norm"), _plain("_step")
        ('grad_norm', 'learning_rate', 'grad_norm', 'step')
    """
    words = re.sub(r"[^a-z0-9]+", "_", column.rpartition(" - ")[2].lower()).strip("_")
    return PREFIX.sub("", words)


def _find_layers(columns: Sequence[str], pattern: str | None) -> Iterator[tuple[str, str]]:
    before, _, after = (pattern or "").partition("*")
    for column in columns:
        if pattern is not None:
            if fnmatchcase(column, pattern):
                yield f"{keys.GRAD_NORM}/{column.removeprefix(before).removesuffix(after)}", column
        elif layer := LAYERS.match(column):
            yield f"{keys.GRAD_NORM}/{layer[1]}", column
        if OURS.match(column):
            yield column, column


def _numbers(values: NDArray[Any], column: str) -> Floats:
    if values.dtype.kind in "biuf":
        return values.astype(float)
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values.tolist()):
        try:
            numbers[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"log: column {column!r}, row {row + 1}: got {value!r}; must be a number") from error
    return numbers
