"""Predictions of the trained network for test examples, in the target's own unit."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.data.base import DataSchema
from gradclip.training.result import Result

MAX_EXAMPLES = 2000  # more dots could not be distinguished in a figure


class Predictions(NamedTuple):
    """Predictions and true values, one number for each example.

    Attributes:
        target: true values, ``[examples]``.
        predicted: predictions of the network, ``[examples]``.
    """

    target: Floats
    predicted: Floats


@torch.no_grad()
def predict_test_examples(result: Result) -> Predictions:
    """Predict the target of the first test examples, for every time step that has a class."""
    network, first = result.network, next(result.network.parameters())
    training, targets, predicted = network.training, [], []
    network.eval()
    for inputs, batch_target in result.data.val_dataloader()[-1]:
        targets.append(batch_target.double().cpu())
        predicted.append(network(inputs.to(first.device, first.dtype)).double().cpu())
        if sum(map(len, targets)) >= MAX_EXAMPLES:
            break
    network.train(training)
    target, outputs = torch.cat(targets)[:MAX_EXAMPLES].numpy(), torch.cat(predicted)[:MAX_EXAMPLES].numpy()
    schema = result.data.schema
    if schema.is_classification:
        return Predictions(target.ravel(), outputs.argmax(axis=-1).ravel().astype(float))
    return Predictions(_in_own_unit(target, schema), _in_own_unit(outputs, schema))


def _in_own_unit(values: Floats, schema: DataSchema) -> Floats:
    columns = values.reshape(-1, 1)
    scaler = None if schema.scaling is None else schema.scaling.target
    return np.asarray(columns if scaler is None else scaler.inverse_transform(columns), dtype=float).ravel()


def count_confusions(predictions: Predictions, classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix, ``[true classes, predicted classes]``.

    Examples of a class that does not occur in the training rows, which have a negative number, are ignored.

    Example:
        >>> count_confusions(Predictions(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0])), classes=2)
        array([[1, 0],
               [1, 1]])
    """
    known = predictions.target >= 0
    cells = (predictions.target * classes + predictions.predicted)[known].astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
