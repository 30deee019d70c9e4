"""Scaling of inputs and target with scikit-learn, fitted on the training rows only."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

from gradclip.arrays import Floats
from gradclip.data.checks import check_has_values
from gradclip.data.raw_rows import inputs_of
from gradclip.data.sources import Table
from gradclip.errors import DataError, check_choice

SCALERS: dict[str, type[TransformerMixin]] = {
    "none": FunctionTransformer,
    "standard": StandardScaler,
    "minmax": MinMaxScaler,
}


@dataclass(frozen=True)
class Scaling:
    """Fitted transformers of the inputs and of the target.

    Attributes:
        inputs: converts rows from :func:`gradclip.data.raw_rows.inputs_of` to an array ``[rows, inputs]``.
        target: scales the target ``[rows, 1]``; its inverse converts the network's outputs to the target's unit. None
            for classes.
        categorical: names of the categorical inputs.
        fills_missing: whether ``inputs`` fills in missing values.
    """

    inputs: ColumnTransformer
    target: TransformerMixin | None
    categorical: tuple[str, ...] = ()
    fills_missing: bool = False

    @property
    def target_scale(self) -> float:
        """Target units per unit of the network's output; 1 for classes."""
        if self.target is None:
            return 1.0
        ends = self.target.inverse_transform(np.array([[0.0], [1.0]]))
        return float(ends[1, 0] - ends[0, 0])

    def scale_inputs(self, rows: pd.DataFrame) -> Floats:
        """Return the scaled inputs of a user's rows, ``[rows, inputs]``."""
        plain = inputs_of(rows, self.categorical, self.fills_missing)
        return np.asarray(self.inputs.transform(plain), dtype=float)

    def scale_target(self, target: pd.Series) -> Floats:
        """Return the scaled numeric target, ``[rows, 1]``."""
        assert self.target is not None
        scaled: Floats = self.target.transform(_column(target))
        return scaled


def fit_scaling(table: Table, scale_inputs: str = "none", scale_target: str = "none") -> Scaling:
    """Fit the transformers on the training rows of a table; categorical columns are encoded one-hot.

    Args:
        table: the table.
        scale_inputs: scaling of the numeric input columns: ``none``, ``standard`` (mean 0, standard deviation 1) or
            ``minmax`` (0 to 1).
        scale_target: scaling of the target, with the same choices; classes are not scaled.

    Raises:
        DataError: a scaling is unknown; or missing values are filled in, and a column has no value in the training
            rows.

    Example:
        >>> from gradclip.data.sources import regression
        >>> scaling = fit_scaling(regression(), scale_target="standard")
        >>> round(scaling.target_scale, 1)
        142.8
    """
    for setting, scaler in (("data.scale_inputs", scale_inputs), ("data.scale_target", scale_target)):
        check_choice(setting, scaler, SCALERS, DataError)
    numeric = [name for name in table.features.columns if name not in table.categorical]
    numbers, categories = SCALERS[scale_inputs](), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    training = inputs_of(table.features.iloc[table.rows["train"]], table.categorical, table.fills_missing)
    if table.fills_missing:
        check_has_values(training)
        numbers = make_pipeline(SimpleImputer(strategy="median"), numbers)
        categories = make_pipeline(SimpleImputer(strategy="most_frequent"), categories)
    inputs = ColumnTransformer([("numeric", numbers, numeric), ("categorical", categories, list(table.categorical))])
    inputs.fit(training)
    target = None if table.labels else SCALERS[scale_target]().fit(_column(table.target.iloc[table.rows["train"]]))
    return Scaling(inputs, target, table.categorical, table.fills_missing)


def _column(target: pd.Series) -> Floats:
    return target.to_numpy(dtype=float)[:, None]
