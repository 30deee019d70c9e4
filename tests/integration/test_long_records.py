"""A record has a limited size in memory and in checkpoints."""

import numpy as np
import torch

from gradclip import GradientMonitor
from gradclip.telemetry import record_store
from gradclip.telemetry.record import GradientRecord
from tests.support.small_trainings import fit, make


def test_earlier_steps_move_to_files_that_a_resumed_training_continues(lightning, tmp_path, monkeypatch):
    whole = GradientMonitor()
    fit(lightning, make(lightning), whole, max_epochs=4)
    monkeypatch.setattr(record_store.RecordStore.__init__, "__defaults__", (2000,))
    monitor, settings = GradientMonitor(flush_every=2), {"default_root_dir": tmp_path}
    fit(lightning, make(lightning), monitor, max_epochs=3, **settings).save_checkpoint(tmp_path / "part.ckpt")
    state = torch.load(tmp_path / "part.ckpt", weights_only=True)[monitor.state_key]["optimizers"]["SGD"]
    assert len(state["files"]) > 1
    assert len(state["columns"]["step"]) < 12
    resumed = GradientMonitor(flush_every=2)
    fit(lightning, make(lightning), resumed, max_epochs=4, ckpt_path=tmp_path / "part.ckpt", **settings)
    for column in GradientRecord.columns():
        np.testing.assert_allclose(getattr(resumed.record, column), getattr(whole.record, column), rtol=1e-6)


def test_a_short_record_creates_no_files(lightning, tmp_path):
    monitor = GradientMonitor()
    fit(lightning, make(lightning), monitor, default_root_dir=tmp_path)
    assert len(monitor.record.step) == 8
    assert not list(tmp_path.iterdir())
