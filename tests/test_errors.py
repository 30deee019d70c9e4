"""Messages of errors suggest the nearest name and count the names that they leave out."""

import re

import numpy as np
import pytest
import torch

from gradclip.errors import DiskError, OutOfMemoryError, did_you_mean, disk_errors, first_few, memory_errors
from gradclip.tracking.files import write_whole


@pytest.mark.parametrize(
    ("name", "allowed", "expected"),
    [
        ("clip.valu", ["clip.value", "seed"], " (did you mean 'clip.value'?)"),
        ("nrom", iter(["none", "norm", "value"]), " (did you mean 'norm'?)"),
        ("zzz", ["clip.value", "seed"], ""),
        ("norm", [], ""),
        ("", ["norm"], ""),
    ],
)
def test_the_most_similar_name_is_suggested_if_there_is_one(name, allowed, expected):
    assert did_you_mean(name, allowed) == expected


def test_the_names_that_are_not_shown_are_counted_of_an_iterator_too():
    assert first_few(iter("abc"), most=2) == "a, b and 1 more"


@pytest.mark.parametrize(
    ("allocate", "reason"),
    [(np.zeros, "Unable to allocate 8.00 PiB "), (torch.zeros, "can't allocate memory: you tried to allocate ")],
)
def test_too_little_memory_is_reported_in_one_line(allocate, reason):
    message = rf"^out of memory: {re.escape(reason)}.*; choose a smaller batch$"
    with pytest.raises(OutOfMemoryError, match=message), memory_errors("batch"):
        allocate(2**50)


def test_other_errors_are_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="sizes"), memory_errors("batch"):
        raise RuntimeError("sizes differ")


def test_a_path_in_a_folder_of_ours_that_cannot_be_written_is_reported_in_one_line(tmp_path):
    (tmp_path / "run.json").mkdir()
    with (
        pytest.raises(DiskError, match=rf"^{tmp_path}/run.json: cannot be written: Is a directory$"),
        disk_errors(tmp_path),
    ):
        write_whole(tmp_path / "run.json", "text")
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):  # a file that the user's own code reads
        (tmp_path / "weights.csv").read_text()
    with pytest.raises(IsADirectoryError), disk_errors(tmp_path / "other"):
        write_whole(tmp_path / "run.json", "text")
