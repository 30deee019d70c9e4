"""Classes have numbers in the order of their labels, balanced weights, and equal proportions in all splits."""

import numpy as np
import pandas as pd
import pytest
import torch

from gradclip.data.classes import as_labels, labels_of, numbers_of
from gradclip.data.sources import Table, diabetes, table
from gradclip.data.tabular import TabularData
from gradclip.errors import DataError
from gradclip.scores import ACCURACY

KINDS = ["a", "b", "a", "a", "b", "a", "a", "c"]


def classes():
    target, rows = pd.Series(KINDS, name="kind", dtype=object), np.arange(len(KINDS))
    features, splits = pd.DataFrame({"size": rows * 1.0}), {"train": rows[:6], "test": rows[6:]}
    return Table("made", "here", features, target, splits, labels_of(target.iloc[:6]))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "b", "a"], ("a", "b")),
        ([True, False, True, True], (False, True)),
        ([3.0, 1.0, 3.0, 1.0], (1, 3)),
        (["x1", "2", "x1", "2"], ("2", "x1")),
        (pd.Categorical([2, 1, 2, 1]), ("1", "2")),
    ],
)
def test_labels_are_plain_values_in_order(values, labels):
    found = labels_of(as_labels(pd.Series(values, name="kind")))
    assert found == labels
    assert [type(label) for label in found] == [type(label) for label in labels]


def test_targets_are_class_numbers_and_a_class_without_training_rows_is_minus_one():
    data = TabularData(classes(), batch_size=2)
    assert data.sets["train"].tensors[1].tolist() == [0, 1, 0, 0, 1, 0]
    assert data.sets["test"].tensors[1].tolist() == [0, -1]
    assert data.shape.outputs == (2,)
    assert data.schema.labels == ("a", "b")
    assert data.notes[-1] == "1 test row counts as wrong, because no training row has the class: 'c'"


def test_the_baseline_is_the_fraction_of_the_most_frequent_class():
    scale = TabularData(classes(), batch_size=2).score_scale
    assert scale.score is ACCURACY
    assert scale.baseline == scale.baseline_on("train") == pytest.approx(4 / 6)
    assert scale.baseline_on("test") == pytest.approx(1 / 2)


def test_balanced_weights_give_all_classes_equal_weight():
    weights = TabularData(classes(), batch_size=2, class_weights="balanced").class_weights
    assert weights is not None
    torch.testing.assert_close(weights * torch.tensor([4.0, 2.0]), torch.tensor([3.0, 3.0]))
    assert TabularData(classes(), batch_size=2).class_weights is None


@pytest.mark.parametrize(
    ("made", "settings", "message"),
    [
        (
            classes(),
            {"scale_target": "standard"},
            "data.scale_target: got 'standard'; must be none for a target with classes",
        ),
        (
            diabetes(),
            {"class_weights": "balanced"},
            "data.class_weights: got 'balanced'; must be none for a numeric target",
        ),
    ],
)
def test_a_setting_for_the_other_kind_of_target_is_refused(made, settings, message):
    with pytest.raises(DataError, match=f"^{message}"):
        TabularData(made, batch_size=2, **settings)


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_every_split_has_the_same_fractions_of_classes(tmp_path, fraction):
    kinds = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    pd.DataFrame({"x": np.random.default_rng(0).normal(size=100), "kind": kinds}).to_csv(
        tmp_path / "t.csv", index=False
    )
    read = table(str(tmp_path / "t.csv"), "kind", test_fraction=fraction)
    counts = read.target.iloc[read.rows["test"]].value_counts()
    assert counts.to_dict() == {"a": 60 * fraction, "b": 30 * fraction, "c": 10 * fraction}
    read = table(str(tmp_path / "t.csv"), "kind", test_fraction=0.2, validation_fraction=0.25)
    assert read.target.iloc[read.rows["validation"]].value_counts().to_dict() == {"a": 12, "b": 6, "c": 2}


def test_a_class_with_one_row_left_by_the_test_split_is_refused_unless_stratify_is_off(tmp_path):
    kinds = ["a"] * 10 + ["b"] * 8 + ["c"] * 2
    pd.DataFrame({"x": range(20), "kind": kinds}).to_csv(tmp_path / "t.csv", index=False)
    rule = "each class needs one to train on and one to validate on, or set data.stratify=false or data.validation"
    with pytest.raises(DataError, match=f"^data.target: column 'kind' keeps a single row of 'c'; {rule}_fraction=0$"):
        table(str(tmp_path / "t.csv"), "kind", test_fraction=0.3, validation_fraction=0.3)
    read = table(str(tmp_path / "t.csv"), "kind", test_fraction=0.3, validation_fraction=0.3, stratify=False)
    assert {split: len(rows) for split, rows in read.rows.items()} == {"train": 9, "validation": 5, "test": 6}


def test_boolean_labels_have_the_numbers_of_their_classes():
    assert numbers_of(pd.Series([True, False], dtype=object), (False, True)).tolist() == [1, 0]
