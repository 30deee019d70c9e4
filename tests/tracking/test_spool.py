"""Format of the spool: encoded writes are decoded unchanged, and spools of version 1 can still be read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.scores import MSE
from gradclip.tracking.operations import Delivery, Operations, argument_types, delivery_of, needs_run
from gradclip.tracking.records import SPOOL_FILE, Call, DatasetDescription, ModelFiles, Parent, Point
from gradclip.tracking.spool import VERSION, Spool, decode, encode
from tests.support.stores import make_store

VERSION_1 = Path(__file__).with_name("spool_version_1.jsonl")
DESCRIPTION = {
    "network": {"target": "gradclip.models.mlp.MLP", "settings": {}, "example": [20], "outputs": [1]},
    "columns": [f"x{number}" for number in range(20)], "target": "y", "classes": False,
}  # fmt: skip
NAN = float("nan")


def arguments_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return arguments for every write, including values that are hard to encode."""
    model = {name: str(folder / name) for name in ("description", "weights")}
    for path in (*model.values(), str(folder / "example.npy")):
        Path(path).write_text("{}")
    return {
        "create_run": ("a name", {"tag": "välue\n"}, Parent("folder", "multirun", {"seed": "0"}), 5),
        "reopen_run": ({"tag": ""},),
        "write_parameters": ({"clip.value": "1.0"},),
        "write_points": ([Point("loss/step", 1e-300, 1, 2), Point("grad/norm", float("inf"), 1, 2)],),
        "write_summary": ({"final/mse_test": NAN}, {"outcome": "diverged"}, 7),
        "write_datasets": ([DatasetDescription("rows", "abc", "local", "{}", None, None, "training")],),
        "write_files": (str(folder), "figures"),
        "write_run_files": (str(folder),),
        "write_text": ("text\n", "config.yaml"),
        "write_model": (ModelFiles(model, str(folder / "example.npy"), ["torch==2.13.0"]),),
        "end_run": ("FINISHED", None),
    }


def test_every_write_has_an_encoding(tmp_path: Path) -> None:
    writes = {name for name in vars(Operations) if not name.startswith("_") and delivery_of(name) is Delivery.WRITE}
    assert writes == arguments_of(tmp_path).keys()
    assert [name for name in writes if not needs_run(name)] == ["create_run"]


@pytest.mark.parametrize("operation", [name for name in vars(Operations) if not name.startswith("_")])
def test_a_write_is_decoded_unchanged(tmp_path: Path, operation: str) -> None:
    arguments = arguments_of(tmp_path).get(operation)
    if arguments is None:
        assert delivery_of(operation) is not Delivery.WRITE
        return
    call = Call(make_store(tmp_path), operation, "id", arguments, str(tmp_path))
    line = json.loads(json.dumps(encode(call)))
    assert line["version"] == VERSION
    again = decode(line, tmp_path)
    if operation == "write_model":  # its files are copied to the run's folder
        assert Path(again.arguments[0].example).parent == tmp_path / "unsent_model"
        assert again.arguments[0].requirements == ["torch==2.13.0"]
    else:
        assert repr(again) == repr(call)  # NaN is not equal to itself


def test_trailing_arguments_may_be_omitted(tmp_path: Path) -> None:
    line = encode(Call(make_store(tmp_path), "end_run", "id", ("KILLED",), str(tmp_path)))
    assert decode(line, tmp_path).arguments == ("KILLED",)


def test_argument_types_are_keyed_by_argument_name() -> None:
    assert list(argument_types("write_summary")) == ["metrics", "tags", "timestamp"]


def test_an_incomplete_line_is_ignored_and_then_overwritten(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(Call(make_store(tmp_path), "write_text", "id", ("a", "b.txt"), str(tmp_path)))
    with spool.path.open("a") as file:
        file.write('{"version": 2, "operation": "end_r')
    assert (len(spool), [call.operation for call in spool.calls()]) == (1, ["write_text"])
    spool.add(Call(make_store(tmp_path), "end_run", "id", ("FINISHED", 1), str(tmp_path)))
    assert [call.operation for call in spool.calls()] == ["write_text", "end_run"]


def test_the_files_of_a_write_are_synced_before_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    (tmp_path / keys.TELEMETRY_FOLDER).mkdir()
    (tmp_path / keys.TELEMETRY_FILE).write_bytes(b"data")
    spool = Spool(tmp_path)
    spool.add(Call(make_store(tmp_path), "write_run_files", "id", (str(tmp_path),), str(tmp_path)))
    assert synced.index(str(tmp_path / keys.TELEMETRY_FILE)) < synced.index(str(spool.path))
    assert synced[-1] == str(tmp_path)


def test_a_spool_of_version_1_is_sent(tmp_path: Path) -> None:
    """The file has all writes of a ``trainer=debug`` run without a store, in the format before it was versioned."""
    from gradclip.tracking.backend.delivery import replay

    folder, store = tmp_path / "run", make_store(tmp_path)
    model = folder / "unsent_model"
    model.mkdir(parents=True)
    for name in ("weights", "inputs", "target"):
        (model / name).write_bytes(b"data")
    (model / "description").write_text(json.dumps(DESCRIPTION))
    (folder / keys.TELEMETRY_FOLDER).mkdir()
    (folder / keys.TELEMETRY_FILE).write_bytes(b"data")
    text = VERSION_1.read_text().replace("FOLDER", str(folder)).replace("http://127.0.0.1:9", store.uri)
    (folder / SPOOL_FILE).write_text(text.replace("PROJECT/mlruns/artifacts", store.artifacts))
    assert replay(str(folder), adopt=True) == text.count("\n")
    assert not (folder / SPOOL_FILE).exists()
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gradclip").experiment_id])
    assert (run.info.run_name, run.info.status) == ("norm=2.0 trainer=debug seed=0", "FINISHED")
    assert run.data.params["clip.value"] == "2.0"
    assert run.data.tags[keys.OUTCOME] == "learned"
    assert np.isfinite(run.data.metrics[MSE.final("test")])
    assert {data.dataset.name for data in run.inputs.dataset_inputs} == {
        "regression (training)", "regression (testing)",
    }  # fmt: skip
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"config.yaml", "telemetry"}
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
