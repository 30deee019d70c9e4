"""Tests of the data sets that a run stores."""

from gradclip.data.sequences import SequenceData
from gradclip.data.sources import diabetes
from gradclip.data.tabular import TabularData
from gradclip.training.artifacts import datasets_of


def test_each_split_is_a_separate_data_set():
    found = datasets_of(TabularData(diabetes(validation_fraction=0.2)))
    assert {one.context: len(one.frame) for one in found} == {"training": 264, "validation": 67, "testing": 111}
    assert [one.name for one in found] == [f"diabetes ({one.context})" for one in found]
    assert [one.context for one in datasets_of(TabularData(diabetes()))] == ["training", "testing"]


def test_generated_sequences_are_data_sets_without_rows():
    data = SequenceData("adding", length=10, validation_sequences=100)
    assert {one.context: one.frame for one in datasets_of(data)} == dict.fromkeys(("training", "validation", "testing"))
