"""A damaged checkpoint, or one with objects other than numbers and settings, is refused."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from gradclip.errors import TrackingError
from gradclip.training.resume import _check_checkpoint


@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "zeros in the middle"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    _check_checkpoint(path)  # no checkpoint: the run starts again
    torch.save({"weights": torch.arange(5000.0)}, path)
    _check_checkpoint(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "empty": b"",
            "half": whole[:half],
            "zeros": bytes(len(whole)),
            "zeros in the middle": whole[:half] + bytes(1000) + whole[half + 1000 :],
        }[damage]
    )
    with pytest.raises(TrackingError, match="the checkpoint is damaged; remove it and repeat the command"):
        _check_checkpoint(path)


def test_a_checkpoint_with_an_object_that_is_not_loaded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"hyper_parameters": {"folder": tmp_path}}, path)
    with pytest.raises(
        TrackingError, match=r"the checkpoint contains a pathlib\S+, which is not loaded for safety; remove"
    ):
        _check_checkpoint(path)


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_loads(tmp_path: Path) -> None:
    path, weights = tmp_path / "last.ckpt", torch.arange(5000.0)
    torch.save({"weights": weights}, path)
    whole = path.read_bytes()
    for position in range(whole.rindex(b"PK\1\2"), len(whole)):  # the end of the directory of the archive
        flipped = bytearray(whole)
        flipped[position] ^= 128
        path.write_bytes(flipped)
        with suppress(TrackingError):
            _check_checkpoint(path)
            assert torch.equal(torch.load(path, weights_only=True)["weights"], weights)
