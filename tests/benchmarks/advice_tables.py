"""Synthetic tables for judging advice: targets of any scale, few rows, many columns, categories, heavy tails."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3, make_regression

from gradclip.arrays import Floats

Inputs = Floats | pd.DataFrame


def make_table(name: str, folder: Path) -> Path:
    """Return the path of a table as CSV, which is written if it does not exist; the target is the column ``y``."""
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.csv"
    if not path.exists():
        inputs, target = TABLES[name]()
        frame = inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame(inputs).add_prefix("x")
        frame.assign(y=target).to_csv(path, index=False)
    return path


def heavy_tailed_noise(size: float, degrees: float, seed: int) -> tuple[Inputs, Floats]:
    """Return Friedman's first function, scaled by a factor, with noise from Student's t distribution."""
    inputs, target = make_friedman1(400, random_state=seed)
    noise = np.random.default_rng(seed).standard_t(degrees, len(target))
    return inputs, size * (target + 0.3 * noise)


def heavy_tailed_inputs(rows: int, seed: int) -> tuple[Inputs, Floats]:
    """Return inputs from Student's t distribution (2 degrees of freedom), and a bounded function of them with noise."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_t(2, (rows, 8))
    return inputs, 50 * np.tanh(inputs[:, 0] + inputs[:, 1]) + generator.normal(0, 5, rows)


def categories(rows: int, levels: tuple[int, ...], seed: int) -> tuple[Inputs, Floats]:
    """Return text columns in which each value has an effect, and two numeric columns."""
    generator = np.random.default_rng(seed)
    columns = [generator.integers(count, size=rows) for count in levels]
    effects = [generator.normal(0, 60, count)[column] for count, column in zip(levels, columns, strict=True)]
    numbers = generator.normal(size=(rows, 2))
    frame = pd.DataFrame({f"c{i}": [f"v{value}" for value in column] for i, column in enumerate(columns)})
    frame[["n0", "n1"]] = numbers
    return frame, np.sum(effects, axis=0) + 40 * numbers[:, 0] + generator.normal(0, 10, rows)


def _linear(rows: int, columns: int, seed: int) -> tuple[Inputs, Floats]:
    inputs, target = make_regression(rows, columns, n_informative=10, noise=10, random_state=seed)
    return inputs, target


def _times(factor: float, made: tuple[Floats, Floats]) -> tuple[Inputs, Floats]:
    return made[0], factor * made[1]


TABLES: dict[str, Callable[[], tuple[Inputs, Floats]]] = {
    "heavy-tailed noise": lambda: heavy_tailed_noise(100, 2, seed=0),
    "heavy-tailed inputs": lambda: heavy_tailed_inputs(400, seed=0),
    "target of 1e6": lambda: _times(7e4, make_friedman1(400, noise=1, random_state=1)),
    "target of 1e-4": lambda: _times(7e-6, make_friedman1(400, noise=1, random_state=2)),
    "60 rows": lambda: _linear(60, 10, seed=3),
    "200 columns": lambda: _linear(400, 200, seed=4),
    "many categories": lambda: categories(400, (40, 20, 7), seed=5),
    # the problems of HELD_OUT
    "nearly Cauchy noise": lambda: heavy_tailed_noise(20, 1.2, seed=10),
    "target of 1e5": lambda: _times(100, make_friedman2(400, noise=50, random_state=11)),
    "target of 1e-3": lambda: _times(1e-3, make_friedman3(400, noise=0.1, random_state=12)),
    "100 rows": lambda: _times(10, make_friedman1(100, noise=1, random_state=13)),
    "100 columns": lambda: _linear(300, 100, seed=14),
    "rare categories": lambda: categories(400, (100,), seed=15),
    "heavy-tailed inputs, few rows": lambda: heavy_tailed_inputs(250, seed=16),
}
