"""The deadline of a whole call to a server."""

from gradclip.tracking.backend.deadline import MIN_UPLOAD, MODEL_SECONDS, seconds_for
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call, ModelFiles, Store


def test_all_files_of_a_model_lengthen_the_deadline(tmp_path):
    paths = [str(tmp_path / name) for name in ("weights", "example.json", "network.pt")]
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(10 * MIN_UPLOAD)
    weights, example, network = paths
    files = ModelFiles({"weights": weights}, example, [], network)
    call = Call(
        Store("http://127.0.0.1:5000", "", "default"),
        Operations.write_model.__name__,
        "run",
        (files, "model"),
        str(tmp_path),
    )
    assert seconds_for(call, left=20.0) == 20.0 + MODEL_SECONDS + 3 * 10
