"""Scaling of inputs and target with scikit-learn, fitted on the training rows only."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

from gradclip.data.sources import Table

SCALERS: dict[str, type[TransformerMixin]] = {
    "none": FunctionTransformer,
    "standard": StandardScaler,
    "minmax": MinMaxScaler,
}


@dataclass(frozen=True)
class Scaling:
    """Fitted transformers of the inputs and of the target.

    Attributes:
        inputs: turns a frame of features into an array ``[rows, inputs]``.
        target: scales the target ``[rows, 1]``; its inverse turns the network's outputs into the target's unit.
    """

    inputs: ColumnTransformer
    target: TransformerMixin

    @property
    def target_scale(self) -> float:
        """Target units per unit of the network's output."""
        ends = self.target.inverse_transform(np.array([[0.0], [1.0]]))
        return float(ends[1, 0] - ends[0, 0])

    def transform(self, table: Table, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scaled inputs ``[rows, inputs]`` and scaled target ``[rows, 1]``."""
        inputs = self.inputs.transform(table.features.iloc[rows])
        return np.asarray(inputs, dtype=float), self.target.transform(_column(table.target.iloc[rows]))


def fit_scaling(table: Table, scale_inputs: str = "none", scale_target: str = "none") -> Scaling:
    """Fit the transformers on the training rows of a table; categorical columns are encoded one-hot.

    Args:
        table: the table.
        scale_inputs: scaling of the numeric input columns: ``none``, ``standard`` (mean 0, standard deviation 1) or
            ``minmax`` (0 to 1).
        scale_target: scaling of the target, with the same choices.

    Example:
        >>> from gradclip.data.sources import regression
        >>> scaling = fit_scaling(regression(), scale_target="standard")
        >>> round(scaling.target_scale, 1)
        142.8
    """
    numeric = [name for name in table.features.columns if name not in table.categorical]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    inputs = ColumnTransformer(
        [("numeric", SCALERS[scale_inputs](), numeric), ("categorical", encoder, list(table.categorical))]
    )
    inputs.fit(table.features.iloc[table.train_rows])
    return Scaling(inputs, SCALERS[scale_target]().fit(_column(table.target.iloc[table.train_rows])))


def _column(target: pd.Series) -> NDArray[np.float64]:
    return target.to_numpy(dtype=float)[:, None]
