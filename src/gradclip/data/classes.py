"""Targets for classification: labels, class numbers and balanced class weights."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from gradclip.arrays import Integers
from gradclip.data.checks import MOST_VALUES
from gradclip.data.typed_columns import is_boolean, kind_of
from gradclip.errors import DataError

Label = str | int | bool
UNSEEN = -1  # number, given by pandas, of a class that no training row has; the network has no output for it


def as_labels(target: pd.Series) -> pd.Series:
    """Convert a target to class labels: text, integers or booleans.

    Raises:
        DataError: the values are of another kind, or there are more than 1,000 classes or fewer than two rows per
            class on average.

    Example:
        >>> as_labels(pd.Series([1.0, 2.0, 1.0, 2.0])).tolist()
        [1, 2, 1, 2]
    """
    kind, different = kind_of(target), target.nunique()
    where = f"data.target: column {target.name!r}"
    if is_boolean(target):
        plain: type = bool
    elif kind == "numbers" and (target.astype(float) % 1 == 0).all():
        plain = int
    elif kind in {"text", "categories", "not quite numbers"}:
        plain = str
    else:
        raise DataError(f"{where} has {kind} ({target.iloc[0]}); classes must be text, integers or booleans")
    if different > min(MOST_VALUES, len(target) / 2):
        rule = f"at most {MOST_VALUES:,} classes are allowed, and at most half as many as rows"
        raise DataError(f"{where} has {different:,} different values in {len(target):,} rows; {rule}")
    return pd.Series([plain(value) for value in target], target.index, dtype=object, name=target.name)


def labels_of(target: pd.Series) -> tuple[Label, ...]:
    """Return the labels of the training targets in ascending order; the network has one output for each.

    Raises:
        DataError: there is only one class.
    """
    labels = tuple(sorted(target.unique().tolist()))
    if len(labels) < 2:
        where = f"column {target.name!r} has a single class ({labels[0]!r}) in the training rows"
        raise DataError(f"data.target: {where}; nothing to learn")
    return labels


def numbers_of(target: pd.Series, labels: Sequence[Label]) -> Integers:
    """Return the class number of each row, ``UNSEEN`` for a class that is not among the labels.

    Example:
        >>> numbers_of(pd.Series(["b", "a", "c"]), ("a", "b")).tolist()
        [1, 0, -1]
    """
    return pd.Categorical(target, categories=[*labels]).codes.astype(np.int64)


def balanced_weights(numbers: Integers) -> Tensor:
    """Return class weights, ``[classes]``, that make all classes count equally.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1]))
        tensor([0.6667, 2.0000])
    """
    weights = compute_class_weight("balanced", classes=np.unique(numbers), y=numbers)
    return torch.tensor(weights, dtype=torch.float32)
