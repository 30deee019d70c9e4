"""Each split of a run is stored as a data set; only files of an earlier run are removed from the folder."""

from gradclip.data.sequences import SequenceData
from gradclip.data.sources import diabetes
from gradclip.data.tabular import TabularData
from gradclip.training.artifacts import RESULT_FILES, datasets_of, remove_results


def test_each_split_is_a_separate_data_set():
    found = datasets_of(TabularData(diabetes(validation_fraction=0.2)))
    assert {one.context: len(one.frame) for one in found} == {"training": 264, "validation": 67, "testing": 111}
    assert [one.name for one in found] == [f"diabetes ({one.context})" for one in found]
    assert [one.context for one in datasets_of(TabularData(diabetes()))] == ["training", "testing"]


def test_generated_sequences_are_data_sets_without_rows():
    data = SequenceData("adding", length=10, validation_sequences=100)
    assert {one.context: one.frame for one in datasets_of(data)} == dict.fromkeys(("training", "validation", "testing"))


def test_the_files_of_an_earlier_run_are_removed_and_those_of_the_user_are_kept(tmp_path):
    own = {"figures/own.png", "figures/target.csv", "telemetry/notes.txt"}
    figures = {"figures/target.png", "figures/learning_curve.svg", "figures/hidden_state_gradient_12.pdf"}
    for name in (*RESULT_FILES, *figures, *own):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_results(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == own
