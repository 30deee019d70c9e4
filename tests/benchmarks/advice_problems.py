"""Problems for judging advice: each has a task, and the settings of the run that is advised on.

The advice was developed on the ``KNOWN`` problems. The ``HELD_OUT`` problems are of the same kinds, with other
generators, seeds and sizes. They were added after the first version; results on them led to two later changes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.advice_tables import TABLES, make_table

UNCLIPPED = ("clip=none",)
NORM, VALUE = ("clip=norm", "clip.value=1.0"), ("clip=value", "clip.value=5.0")  # as the tutorial publishes them
SLOW = (*UNCLIPPED, "optimizer.lr=0.001")
SHORT = (  # a recurrent network that trains in seconds
    *("model.hidden_size=16", "data.steps_per_epoch=40", "data.validation_sequences=500", "data.test_sequences=500"),
    *("trainer.batch_size=20", "trainer.max_epochs=10"),
)
RELU = ("model.nonlinearity=relu", "model.initialization=identity", "model.weight_deviation=0.1")
PLAIN_SGD = "optimizer.momentum=0"
WITH_VALIDATION = "data.validation_fraction=0.2"  # the default of tables


class Problem(NamedTuple):
    """A task, and the settings of the run that is advised on.

    Attributes:
        name: name of the task.
        task: overrides for data, network and optimizer.
        start: overrides for clipping, and for the learning rate.
        scale: magnitude of the target, which determines the thresholds to try.
        can_scale_target: whether the target is numeric and not scaled yet.
    """

    name: str
    task: tuple[str, ...]
    start: tuple[str, ...]
    scale: float
    can_scale_target: bool

    @property
    def overrides(self) -> tuple[str, ...]:
        """All overrides."""
        return (*self.task, *self.start)


def problems(names: Sequence[str], held_out: bool, folder: Path) -> list[Problem]:
    """Return the problems with some names, and write their tables.

    Args:
        names: beginnings of names; if empty, all problems are returned.
        held_out: whether to return ``HELD_OUT`` instead of ``KNOWN``.
        folder: folder of the tables.
    """
    found = HELD_OUT if held_out else KNOWN
    chosen = [one for one in found if not names or one.name.startswith(tuple(names))]
    return [
        one._replace(task=(f"data.path={make_table(one.name, folder)}", *one.task)) if one.name in TABLES else one
        for one in chosen
    ]


def _regression(name: str, scale: float, *task: str, starts: Sequence[tuple[str, ...]] = (UNCLIPPED,)) -> list[Problem]:
    return [Problem(name, task, start, scale, True) for start in starts]


def _table(name: str, scale: float, *starts: tuple[str, ...], more: tuple[str, ...] = ()) -> list[Problem]:
    """Return the problems of a table of :mod:`advice_tables`, whose path :func:`problems` adds."""
    return _regression(name, scale, "data=table", "data.target=y", *more, starts=(UNCLIPPED, *starts))


def _others(name: str, *task: str) -> Problem:
    """Return a problem with sequences or classes."""
    return Problem(name, task, UNCLIPPED, 1.0, False)


GENERATED = ("data.random_state=7", "data.features=50", "data.samples=400", "data.noise=10", WITH_VALIDATION)
KNOWN = [
    *_regression("tutorial", 200, starts=(UNCLIPPED, SLOW, NORM, VALUE)),
    *_regression("diabetes", 80, "data=diabetes", starts=(UNCLIPPED, NORM)),
    *_regression("regression, 50 features", 200, *GENERATED, starts=(UNCLIPPED, NORM)),
    *_table("heavy-tailed noise", 500, NORM),
    *_table("heavy-tailed inputs", 50),
    *_table("target of 1e6", 1e6, NORM),
    *_table("target of 1e-4", 1e-4, NORM),
    *_table("60 rows", 100),
    *_table("200 columns", 200, NORM),
    *_table("many categories", 100, more=("data.categorical=[c0,c1,c2]",)),
    _others("adding, ReLU", "data=adding", "data.length=15", "optimizer.lr=0.05", *RELU, *SHORT),
    _others("temporal order", "data=temporal_order", "data.length=12", "optimizer.lr=0.3", PLAIN_SGD, *SHORT),
    _others("adding, GRU", "data=adding", "model=gru", "data.length=10", "optimizer.lr=1", PLAIN_SGD, *SHORT),
]
HELD_OUT = [
    *_regression(
        "other random rows", 200, "data.random_state=11", "data.features=10", WITH_VALIDATION, starts=(UNCLIPPED, NORM)
    ),
    *_table("nearly Cauchy noise", 100, NORM),
    *_table("heavy-tailed inputs, few rows", 50),
    *_table("target of 1e5", 1e5, NORM),
    *_table("target of 1e-3", 1e-3),
    *_table("100 rows", 50, NORM),
    *_table("100 columns", 200),
    *_table("rare categories", 100, more=("data.categorical=[c0]",)),
    _others("wine", "data=wine", "optimizer.lr=0.5"),
    _others("multiplication, ReLU", "data=multiplication", "data.length=12", "optimizer.lr=0.1", *RELU, *SHORT),
    _others("random permutation", "data=random_permutation", "data.length=10", "optimizer.lr=0.5", PLAIN_SGD, *SHORT),
]
