"""The end of a run detects writes that a server accepted but did not store."""

from types import SimpleNamespace
from typing import Any

import pytest

from gradclip import keys
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Point, Store

RUN = RunAddress(Store("http://lab:5000", "", "gradclip"), "id", "folder")
SUMMARY = {"final/mse_test": 1.0}
WRITES = {
    "parameters": RUN.call(Operations.write_parameters, {"seed": "0"}),
    "steps": RUN.call(Operations.write_points, [Point(keys.LOSS_STEP, 1.0, 0, 1), Point(keys.LOSS_STEP, 1.0, 0, 2)]),
    "summary": RUN.call(Operations.write_summary, SUMMARY, {}, 0),
    "files": RUN.call(Operations.write_text, "text", keys.CONFIG_FILE),
    "status": RUN.call(Operations.end_run, "FINISHED", 0),
}


def server_without(missing: str) -> Any:
    steps = {keys.LOSS_STEP: 1 if missing == "steps" else 2} | ({} if missing == "summary" else {"final/mse_test": 0})
    data = SimpleNamespace(
        params={} if missing == "parameters" else {"seed": "0"},
        _metric_objs=[SimpleNamespace(key=key, step=step) for key, step in steps.items()],
    )
    info = SimpleNamespace(status="RUNNING" if missing == "status" else "FINISHED")
    files = [] if missing == "files" else [SimpleNamespace(path=keys.CONFIG_FILE)]
    client = SimpleNamespace(get_run=lambda _: SimpleNamespace(info=info, data=data))
    return SimpleNamespace(client=client, repository_of=lambda _: SimpleNamespace(list_artifacts=lambda: files))


@pytest.mark.parametrize("missing", ["", *WRITES])
def test_a_write_that_is_not_in_the_store_is_detected(missing: str) -> None:
    from gradclip.tracking.backend.accepted import are_stored

    assert are_stored([*WRITES.values()], server_without(missing), "id") is (missing == "")
