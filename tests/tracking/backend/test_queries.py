"""What is read of a stored run."""

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Run, RunData, RunInfo, RunInputs

from gradclip.tracking.backend.queries import to_stored_run

INFO = RunInfo("0" * 32, "0", "user", "FINISHED", 0, 1000, "active")


@pytest.mark.parametrize(("context", "profile", "rows"), [
    ("validation", '{"num_rows": 27, "num_elements": 378}', {"validation": 27}),
    ("testing", '{"num_rows": 45}', {"test": 45}),
    ("validation", None, {}),
    ("validation", '{"num_rows": "27"}', {}),
    ("evaluation", '{"num_rows": 27}', {}),
])  # fmt: skip
def test_the_rows_of_a_run_are_those_of_its_data_sets(context, profile, rows):
    dataset = Dataset("wine", "0", "code", "{}", None, profile)
    inputs = RunInputs([DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
    assert to_stored_run(Run(INFO, RunData(), inputs)).rows == rows
    assert to_stored_run(Run(INFO, RunData())).rows == {}
