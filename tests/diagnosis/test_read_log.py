"""Logs of other programs are read, and files that are not logs are refused."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradclip import keys
from gradclip.diagnosis.log import JOINED_STEP, LEARNING_RATE, STEP, Log, as_log
from gradclip.diagnosis.read_log import read_log
from gradclip.errors import DataError

NORMS = [2.0, float("nan"), 3.0]
TRAINER_STATE = {
    "global_step": 30,
    "log_history": [
        {"epoch": 0.1, "grad_norm": 2.0, "learning_rate": 5e-5, "loss": 1.5, "step": 10},
        {"epoch": 0.2, "eval_loss": 1.2, "step": 10},
        {"epoch": 0.2, "grad_norm": float("nan"), "learning_rate": 4e-5, "loss": 0.0, "step": 20},
        {"epoch": 0.3, "grad_norm": 3.0, "learning_rate": 3e-5, "loss": 1.1, "step": 30},
        {"epoch": 0.3, "step": 30, "total_flos": 1e15, "train_loss": 1.2},
    ],
}
HISTORY = [
    {"_step": 10, "train": {"grad_norm": 2.0, "loss": 1}, "weights": {"_type": "histogram", "bins": [1, 2]}},
    {"_step": 11, "val/loss": 2.0},
    {"_step": 20, "train": {"grad_norm": "NaN", "loss": 1}},
    {"_step": 30, "train": {"grad_norm": 3.0, "loss": 1}},
]
FILES = {
    "Lightning.csv": "epoch,grad/norm,step,train_loss\n0,2.0,10,1.5\n0,,15,1.5\n0,nan,20,1.5\n1,3.0,30,1.5\n",
    "W&B's page.csv": 'Step,"run 7 - train/grad_norm","run 7 - train/grad_norm__MIN"\n10,2.0,2.0\n20,NaN,1\n30,3.0,3\n',
    "resumed and unordered.csv": "step,grad_norm\n30,3\n10,7\n10,2\n20,nan\n",
    "trainer_state.json": json.dumps(TRAINER_STATE),
    "rows.json": json.dumps(HISTORY),
    "history.jsonl": "\n".join(map(json.dumps, HISTORY)) + "\n\n",
}


@pytest.mark.parametrize("name", FILES)
def test_steps_and_norms_are_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    log = as_log(read_log(path))
    np.testing.assert_array_equal(log[STEP], [10, 20, 30])
    np.testing.assert_array_equal(log[keys.GRAD_NORM], NORMS)
    assert log.repeated == (1 if name.startswith("resumed") else 0)


def test_the_scalars_of_tensorboard_are_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        for step, norm in zip([10, 20, 30], NORMS, strict=True):
            writer.add_scalar("train/grad_norm", norm, step)
            writer.add_scalar("train/loss", 1.5, step)
        writer.add_scalar("val/loss", 1.0, 25)
        writer.add_histogram("weights", np.ones(3), 30)
    for path in (tmp_path, tmp_path / "run", *tmp_path.glob("run/*")):
        log = as_log(read_log(path))
        np.testing.assert_array_equal(log[keys.GRAD_NORM], NORMS)
        np.testing.assert_array_equal(log[keys.LOSS_STEP], [1.5, 1.5, 1.5])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/events.out.tfevents.1").write_bytes(b"noise")
    with pytest.raises(DataError, match="event files of 2 runs, choose one: other, run"):
        read_log(tmp_path)
    with pytest.raises(DataError, match="has no rows"):
        read_log(tmp_path / "other")


def test_a_tensor_that_stands_for_more_numbers_than_the_memory_holds_is_not_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("grad_norm", 2.0, 10)
        huge = Summary.Value(tag="huge")
        huge.tensor.dtype = 1  # float32
        huge.tensor.float_val.append(1.0)  # fills the tensor
        for size in (2**40, 2**40):
            huge.tensor.tensor_shape.dim.add(size=size)
        writer.file_writer.add_summary(Summary(value=[huge]), 10)
    assert set(read_log(tmp_path)) == {JOINED_STEP, "grad_norm"}
    os.mkfifo(tmp_path / "events.out.tfevents.pipe")
    with pytest.raises(DataError, match=r"tfevents\.pipe is not a regular file"):
        read_log(tmp_path)


def test_event_files_are_refused_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(DataError, match="event files need TensorBoard: python -m pip install tensorboard"):
        read_log(tmp_path)


def columns_of(**columns: Any) -> Log:
    return as_log({"step": [1, 2], "grad_norm": [1.0, 2.0]} | columns)


@pytest.mark.parametrize(("column", "ours"), [
    ("train/grad_norm_clipped", keys.GRAD_NORM_CLIPPED), ("Learning Rate", LEARNING_RATE), ("lr", LEARNING_RATE),
    ("train_loss", keys.LOSS_STEP), ("grad_2.0_norm/fc.weight", f"{keys.GRAD_NORM}/fc.weight"),
    ("grad/norm/fc.weight", f"{keys.GRAD_NORM}/fc.weight"), ("update/ratio/fc.weight", "update/ratio/fc.weight"),
])  # fmt: skip
def test_columns_are_recognized(column: str, ours: str) -> None:
    assert columns_of(**{column: [5.0, 6.0]})[ours].tolist() == [5, 6]


@pytest.mark.parametrize("column", ["eval_loss", "val/grad_norm_of_nothing", "weight_norm", "epoch_time"])
def test_other_columns_are_ignored(column: str) -> None:
    assert set(columns_of(**{column: ["a", "b"]}).columns) == {STEP, keys.GRAD_NORM}


def test_columns_can_be_chosen_by_name() -> None:
    data = {"batch": [1, 2], "g": [1.0, 2.0], "n/a": [0.5, 1.0], "n/b": [0.5, 1.0]}
    log = as_log(data, {STEP: "batch", keys.GRAD_NORM: "g", f"{keys.GRAD_NORM}/*": "n/*"})
    assert log.tensors(keys.GRAD_NORM) == ["a", "b"]
    with pytest.raises(DataError, match=r"log: got no column 'nrm' \(did you mean 'norm'\?\)"):
        as_log({"step": [1], "norm": [1.0]}, {keys.GRAD_NORM: "nrm"})


BAD = {
    "empty.csv": (b"", "the file is empty"),
    "header.csv": (b"step,grad_norm\n", "it has no rows"),
    "wide.csv": (b"step,grad_norm\n0,1.0,3\n1,1.1\n", "cannot be read: a row has more cells than the header"),
    "cut.jsonl": (b'{"step": 1, "grad_norm": 1}\n\n{"step": 2, "gr', "line 3, column 13: Unterminated string starting"),
    "noise.csv": (bytes(range(256)), "cannot be read"),
    "noise.json": (bytes(range(256)), "cannot be read"),
    "deep.json": (b"[" * 100_000, "cannot be read: maximum recursion depth"),
    "digits.jsonl": (b'{"step": 1, "grad_norm": ' + b"9" * 5000 + b"}", "cannot be read: Exceeds the limit"),
    "huge.jsonl": (b'{"step": 1, "grad_norm": ' + b"9" * 400 + b"}", "cannot be read: int too large"),
    "list.json": (b"[1, 2]", "cannot be read: row 1 is not a mapping"),
    "other.json": (b'{"a": 1}', "cannot be read: neither a list of rows nor a trainer state"),
    "norms.txt": (b"1", "must end in .csv, .jsonl, .ndjson, .json, or be a TensorBoard event file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_a_log_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        as_log(read_log(tmp_path / name))
    assert str(caught.value).startswith("log: ")
    assert reason in str(caught.value)


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.csv").write_text("step,grad_norm\n1,1\n")
    monkeypatch.setattr("gradclip.diagnosis.read_log.MAX_BYTES", 10)
    reasons = {
        tmp_path / "large.csv": "of 19 bytes; at most 10 are read",
        tmp_path / "absent.csv": "there is no such file",
        tmp_path / f"{'x' * 300}.csv": "File name too long",
        tmp_path: "the folder has no TensorBoard event files",
        Path("/dev/null"): "must be a file or a folder",
    }
    for path, reason in reasons.items():
        with pytest.raises(DataError, match=reason):
            read_log(path)


def test_short_rows_of_many_columns_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip.diagnosis.read_log.MAX_CELLS", 9)
    (tmp_path / "wide.csv").write_text("step,grad_norm,a,b,c\n1,1\n2,1")
    (tmp_path / "wide.jsonl").write_text(
        "".join(f'{{"step": {row}, "grad_norm": 1.0, "{row}": 1}}\n' for row in "1234")
    )
    (tmp_path / "late.jsonl").write_text('{"step": 1}\n{"step": 2, "grad_norm": 1.0, "a": 1, "b": 1, "c": 1}\n')
    for name in ("wide.csv", "wide.jsonl", "late.jsonl"):
        with pytest.raises(DataError, match=r"cannot be read: it has 1[0-9] cells; at most 9 are read$"):
            read_log(tmp_path / name)
