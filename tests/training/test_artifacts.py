"""The data sets and the reports that a run stores."""

from unittest.mock import Mock

import numpy as np

from gradclip import keys
from gradclip.data.sequences import SequenceData
from gradclip.data.sources import diabetes
from gradclip.data.tabular import TabularData
from gradclip.training.artifacts import datasets_of, write_result


def test_each_split_is_a_separate_data_set():
    found = datasets_of(TabularData(diabetes(validation_fraction=0.2)))
    assert {one.context: len(one.frame) for one in found} == {"training": 264, "validation": 67, "testing": 111}
    assert [one.name for one in found] == [f"diabetes ({one.context})" for one in found]
    assert [one.context for one in datasets_of(TabularData(diabetes()))] == ["training", "testing"]


def test_generated_sequences_are_data_sets_without_rows():
    data = SequenceData("adding", length=10, validation_sequences=100)
    assert {one.context: one.frame for one in datasets_of(data)} == dict.fromkeys(("training", "validation", "testing"))


def test_reports_of_an_earlier_run_in_the_same_folder_are_not_stored_with_this_one(tmp_path):
    for name in (keys.EXPLOSION_TEXT, keys.EXPLOSION_JSON, keys.HIDDEN_STATES_FILE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    result = Mock(explosion=None, hidden=None)
    result.record.to_columns.return_value = {"step": np.ones(1)}
    write_result(Mock(folder=tmp_path, config_text="seed: 0"), result)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {keys.CONFIG_FILE, keys.TELEMETRY_FILE}
