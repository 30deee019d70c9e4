"""A record whose blocks are moved to files is the same record; a damaged file loses only its own steps."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from gradclip.telemetry.record import MATRICES, GradientRecord
from gradclip.telemetry.record_store import RecordStore
from tests.support.records import make_record


def blocks(count=5, names=("weight", "bias"), first=1):
    return [make_record(np.random.default_rng(i).random((4, len(names))), names, first + 4 * i) for i in range(count)]


def without_parameters(first):
    columns = {column: np.empty((4, 0)) for column in MATRICES}
    return replace(*blocks(1, first=first), names=(), **columns)


def assert_same(one, other):
    assert one.names == other.names
    for column in GradientRecord.columns():
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
        assert getattr(one, column).dtype == getattr(other, column).dtype


@pytest.mark.parametrize("limit", [0, 1000, 10**9])
def test_a_record_is_the_same_in_memory_and_in_files(limit, tmp_path):
    store = RecordStore(limit)
    made = [*blocks(), *blocks(2, ("weight", "scale"), first=21), without_parameters(29)]
    for block in made:
        store.append(block, tmp_path)
    names = ("weight", "bias", "scale")
    assert tuple(store.names) == names
    assert_same(store.read(names), GradientRecord.join(names, made))
    assert bool([*tmp_path.rglob("*.npz")]) == (limit < 10**9)


def test_a_state_names_the_files_and_contains_the_other_steps(tmp_path):
    store, resumed = RecordStore(1000), RecordStore(1000)
    for block in blocks():
        store.append(block, tmp_path)
    state = store.state()
    assert len(state["files"]) == 2
    assert len(state["columns"]["step"]) == 4
    resumed.restore(state)
    assert_same(resumed.read(("weight", "bias")), store.read(("weight", "bias")))
    for block in blocks(first=21):
        store.append(block, tmp_path)  # steps after a checkpoint do not affect a resumed run
    resumed.append(blocks(1, first=21)[0], tmp_path)
    assert resumed.read(("weight", "bias")).step.tolist() == [*range(1, 25)]


@pytest.mark.parametrize("what", ["not found", "damaged"])
def test_steps_of_a_missing_or_damaged_file_are_omitted_with_a_warning(tmp_path, what):
    store, resumed = RecordStore(1000), RecordStore()
    for block in blocks():
        store.append(block, tmp_path)
    state = store.state()
    first, _ = sorted(tmp_path.rglob("*.npz"), key=lambda path: int(path.stem.rpartition("-")[2]))
    whole = first.read_bytes()
    first.unlink()
    if what == "damaged":
        first.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=f"{what}; the record continues without these earlier steps"):
        resumed.restore(state)
    assert resumed.read(("weight", "bias")).step.tolist() == [*range(9, 21)]


def test_a_record_stays_in_memory_if_its_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    store = RecordStore(500)
    with pytest.warns(UserWarning, match="cannot be written, so the record stays in memory"):
        store.append(*blocks(1), tmp_path / "file" / "below")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.append(*blocks(1, first=5), tmp_path / "file" / "below")
    assert store.read(("weight", "bias")).step.tolist() == [*range(1, 9)]
