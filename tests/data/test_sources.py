"""Each source of a table reads its rows and splits them as its settings say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, make_regression

from gradclip import SequenceData
from gradclip.data.sources import SOURCES, diabetes, regression, table, wine
from gradclip.data.tabular import TabularData
from gradclip.data.tasks import TASKS
from gradclip.errors import DataError

FRAME = pd.DataFrame(
    {
        "size": [1, 2, 3, 4, 5, 6, 7, 8],
        "age": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5],
        "city": ["Bonn", "Köln", "Bonn", "Ulm", "Ulm", "Bonn", "Köln", "Ulm"],
        "price": [3, 1, 4, 1, 5, 9, 2, 6],
    }
)


@pytest.fixture(params=["csv", "parquet"])
def path(request, tmp_path):
    path = tmp_path / f"houses.{request.param}"
    FRAME.to_csv(path, index=False) if request.param == "csv" else FRAME.to_parquet(path)
    return str(path)


def test_the_tutorial_table_equals_scikit_learn_bit_for_bit():
    made = regression()
    inputs, target = make_regression(1000, 20, noise=0.1, random_state=1)
    assert np.array_equal(made.features.to_numpy(), inputs)
    assert np.array_equal(made.target.to_numpy(), target)
    assert made.rows["train"].tolist() == list(range(500))
    assert made.rows["test"].tolist() == list(range(500, 1000))
    assert made.categorical == ()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_many_columns_is_read_without_a_warning(kind, tmp_path):
    frame = pd.DataFrame({f"x{column}": np.arange(40) + column / 7 for column in range(150)})
    frame = pd.concat([frame, pd.DataFrame({f"t{column}": ["a", "b"] * 20 for column in range(110)})], axis=1)
    path = tmp_path / f"wide.{kind}"
    getattr(frame, {"csv": "to_csv", "parquet": "to_parquet"}[kind])(path, index=False)
    read = table(str(path), "x149", missing="median")
    assert all(one.columns[-1] == "x149" and one.shape[1] == 260 for one in read.frames().values())
    TabularData(read, batch_size=8)


@pytest.mark.parametrize(("fraction", "train", "test"), [(0.5, 5, 5), (0.25, 8, 2), (0.2, 8, 2), (0.9, 1, 9)])
def test_the_last_rows_of_the_generated_table_are_test_rows(fraction, train, test):
    made = regression(samples=10, test_fraction=fraction)
    assert made.rows["train"].tolist() == list(range(train))
    assert made.rows["test"].tolist() == list(range(10 - test, 10))


def test_validation_rows_of_the_generated_table_precede_the_test_rows():
    made = regression(samples=10, test_fraction=0.5, validation_fraction=0.4)
    assert {split: rows.tolist() for split, rows in made.rows.items()} == {
        "train": [0, 1, 2],
        "validation": [3, 4],
        "test": [5, 6, 7, 8, 9],
    }


@pytest.mark.parametrize(
    ("setting", "fraction", "what"),
    [
        ("test", 0.001, "100 rows to test on"),
        ("test", 0.999, "100 rows to train on"),
        ("validation", 0.001, "50 rows to validate on"),
        ("validation", 0.999, "50 rows to train on"),
    ],
)
def test_a_fraction_that_leaves_a_split_empty_is_refused(setting, fraction, what):
    with pytest.raises(DataError, match=f"^data.{setting}_fraction: got {fraction}; leaves none of {what}$"):
        regression(samples=100, **{f"{setting}_fraction": fraction})


@pytest.mark.parametrize("make", [regression, diabetes, wine])
@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, np.nan, "0.5"])
def test_a_fraction_out_of_range_is_refused(make, fraction):
    for setting in ("test_fraction", "validation_fraction"):
        with pytest.raises(DataError, match=rf"^data.{setting}: got .*; must be a number of at least 0 and below 1$"):
            make(**{setting: fraction})


def test_validation_rows_are_taken_from_the_training_rows_with_the_same_seed():
    two, three = diabetes(split_seed=3), diabetes(split_seed=3, validation_fraction=0.2)
    np.testing.assert_array_equal(two.rows["test"], three.rows["test"])
    assert sorted([*three.rows["train"], *three.rows["validation"]]) == sorted(two.rows["train"])
    assert len(three.rows["validation"]) == 67  # a fifth of 331
    assert [*two.rows] == ["train", "test"]
    other = diabetes(split_seed=4, validation_fraction=0.2)
    assert set(other.rows["validation"]) != set(three.rows["validation"])


def test_the_diabetes_table_is_unscaled_and_split_without_overlap():
    bunch = load_diabetes(as_frame=True, scaled=False)
    loaded = diabetes(test_fraction=0.25)
    np.testing.assert_array_equal(loaded.features.to_numpy(), bunch.data.to_numpy(dtype=float))
    np.testing.assert_array_equal(loaded.target, bunch.target)
    assert sorted([*loaded.rows["train"], *loaded.rows["test"]]) == list(range(442))
    assert len(loaded.rows["test"]) == 111
    assert set(loaded.features.dtypes) == {np.dtype("float64")}


def test_the_split_depends_on_its_own_seed():
    assert np.array_equal(diabetes(split_seed=3).rows["test"], diabetes(split_seed=3).rows["test"])
    assert not np.array_equal(diabetes(split_seed=3).rows["test"], diabetes(split_seed=4).rows["test"])


def test_a_user_file_is_read(path):
    read = table(path, "price", categorical=["city"])
    assert list(read.features.columns) == ["size", "age", "city"]
    assert read.name == "houses"
    assert read.source == path
    assert read.target.tolist() == FRAME["price"].tolist()
    assert read.target.dtype == float
    pd.testing.assert_frame_equal(read.features, FRAME[["size", "age", "city"]])
    assert sorted([*read.rows["train"], *read.rows["test"]]) == list(range(8))
    assert len(read.rows["test"]) == 2


def test_a_parquet_file_with_categories_numeric_names_and_a_named_index_is_read(tmp_path):
    city = FRAME["city"].astype("category")
    FRAME.assign(city=city).rename(columns={"age": 7}).set_index("size").to_parquet(tmp_path / "houses.parquet")
    read = table(str(tmp_path / "houses.parquet"), "price", features=["size", "7", "city"], categorical=["city"])
    assert read.features["city"].tolist() == FRAME["city"].tolist()
    assert not isinstance(read.features["city"].dtype, pd.CategoricalDtype)
    assert read.features["size"].tolist() == FRAME["size"].tolist()
    assert read.features["7"].tolist() == FRAME["age"].tolist()


def test_selected_features_keep_their_order(path):
    assert list(table(path, "price", features=["age", "size"]).features.columns) == ["age", "size"]


def test_booleans_are_read_as_numbers(tmp_path):
    FRAME.assign(city=FRAME["city"] == "Bonn").to_csv(tmp_path / "flags.csv", index=False)
    read = table(str(tmp_path / "flags.csv"), "price")
    assert read.features["city"].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["broken.parquet", "missing.csv", "missing.parquet", "binary.csv"])
def test_an_unreadable_file_is_refused(tmp_path, name):
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"\x00\xff not a table \x81\n")
    problem = "the file is truncated or is not Parquet" if name == "broken.parquet" else "cannot be read: .+"
    with pytest.raises(DataError, match=f"^data.path: got '.*{name}'; {problem}$"):
        table(str(tmp_path / name), "price")


def test_too_few_rows_to_split_are_refused(tmp_path):
    FRAME.head(3).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(DataError, match=r"^data: got 3 rows; needs at least 4$"):
        table(str(tmp_path / "few.csv"), "price", features=["size"])


def test_a_split_without_training_rows_is_refused(path):
    with pytest.raises(DataError, match=r"^data.test_fraction: got 0.999; "):
        table(path, "price", features=["size"], test_fraction=0.999)
    with pytest.raises(DataError, match=r"^data.validation_fraction: got 0.9; leaves none of 6 rows to train on$"):
        table(path, "price", features=["size"], validation_fraction=0.9)


def test_sources_are_named_as_in_the_configs():
    configs = Path(__file__).parents[2] / "conf" / "data"
    assert {path.stem for path in configs.glob("*.yaml")} == set(SOURCES) | set(TASKS) | {"own", "series"}


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: table("x.csv", "y", task="clf"), "data.task: got 'clf'; choose from auto, regression,"),
        (lambda: table("x.csv", "y", missing="mean"), "data.missing: got 'mean' (did you mean 'median'?); choose from"),
        (lambda: table("x.csv", "y", delimiter=";"), "data.delimiter: got ';'; choose from auto, comma,"),
        (lambda: table("x.csv", "y", decimal="coma"), "data.decimal: got 'coma' (did you mean 'comma'?)"),
        (
            lambda: TabularData(regression(), scale_inputs="max"),
            "data.scale_inputs: got 'max' (did you mean",
        ),
        (lambda: TabularData(regression(), scale_target=None), "data.scale_target: got None (did you mean 'none'?)"),
        (lambda: TabularData(wine(), class_weights="balance"), "data.class_weights: got 'balance' (did you mean"),
        (lambda: SequenceData("ading"), "data: got 'ading' (did you mean 'adding'?); choose from adding,"),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_an_unknown_option_is_refused_with_the_choices(build, line):
    with pytest.raises(DataError) as caught:
        build()
    assert str(caught.value).startswith(line)
