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
