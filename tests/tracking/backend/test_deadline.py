"""A whole call to a server ends by its deadline, which grows with the size of a model."""

import contextlib
import itertools
import socket
import threading
import time

import pytest

from gradclip.errors import AbsentStoreError
from gradclip.tracking.backend import connection
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


def drip(listener):
    """Answer the first request with an endless header, one byte at a time."""
    client, _ = listener.accept()
    with client, contextlib.suppress(OSError):  # the other side gives up
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(ord("x"))):
            client.sendall(bytes([byte]))
            time.sleep(0.05)


def test_a_first_answer_that_never_ends_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(connection, "SERVER_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(AbsentStoreError, match=r"; no MLflow server answers there \(TimeoutError\)$"):
            connection.Connection(Store(address, "", "default")).check_readable()
