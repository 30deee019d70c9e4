"""Scaling equals scikit-learn's, fitted on the training rows only."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from gradclip.data.scaling import fit_scaling
from gradclip.data.sources import Table, diabetes, regression

SKLEARN = {"standard": StandardScaler, "minmax": MinMaxScaler}


def mixed_table():
    features = pd.DataFrame({"size": [1.0, 2.0, 3.0, 100.0, 5.0], "kind": ["a", "b", "a", "b", "unseen"]})
    target = pd.Series([10.0, 20.0, 30.0, -500.0, 7.0], name="price")
    rows = {"train": np.array([0, 1, 2]), "validation": np.array([3]), "test": np.array([4])}
    return Table("mixed", "here", features, target, rows, categorical=("kind",))


def scaled_rows(scaling, table, rows):
    return scaling.scale_inputs(table.features.iloc[rows]), scaling.scale_target(table.target.iloc[rows])


@pytest.mark.parametrize("method", SKLEARN)
@pytest.mark.parametrize("table", [regression(), diabetes()], ids=lambda table: table.name)
def test_equals_scikit_learn_fitted_on_the_training_rows_only(table, method):
    scaling = fit_scaling(table, scale_inputs=method, scale_target=method)
    features, target = table.features.to_numpy(), table.target.to_numpy(dtype=float)[:, None]
    of_inputs = SKLEARN[method]().fit(features[table.rows["train"]])
    of_target = SKLEARN[method]().fit(target[table.rows["train"]])
    for rows in (table.rows["train"], table.rows["test"]):
        inputs, scaled = scaled_rows(scaling, table, rows)
        np.testing.assert_allclose(inputs, of_inputs.transform(features[rows]))
        np.testing.assert_allclose(scaled, of_target.transform(target[rows]))


def test_no_scaling_changes_nothing():
    table = regression()
    inputs, target = scaled_rows(fit_scaling(table), table, table.rows["test"])
    assert np.array_equal(inputs, table.features.to_numpy()[500:])
    assert np.array_equal(target[:, 0], table.target.to_numpy()[500:])
    assert target.shape == (500, 1)


def test_target_scale_is_the_target_per_unit_of_output():
    table = regression()
    train = table.target.to_numpy()[table.rows["train"]]
    assert fit_scaling(table).target_scale == 1.0
    assert fit_scaling(table, scale_target="standard").target_scale == pytest.approx(train.std())
    assert fit_scaling(table, scale_target="minmax").target_scale == pytest.approx(np.ptp(train))


def test_categories_are_one_hot_after_the_numbers_and_an_unseen_category_is_all_zeros():
    table = mixed_table()
    inputs, _ = scaled_rows(fit_scaling(table, scale_inputs="minmax"), table, np.arange(5))
    assert inputs.tolist() == [[0, 1, 0], [0.5, 0, 1], [1, 1, 0], [49.5, 0, 1], [2, 0, 0]]


def test_only_training_rows_determine_the_scaling():
    table = mixed_table()
    assert fit_scaling(table, scale_target="minmax").target_scale == pytest.approx(20.0)  # -500 is a validation row


def test_numbers_can_be_categories():
    table = mixed_table()
    table.features["kind"] = [1, 2, 1, 2, 3]
    inputs, _ = scaled_rows(fit_scaling(table), table, np.arange(5))
    assert inputs[:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1], [0, 0]]
