"""Strategies of both Lightning packages are recognized; the other tests in this folder also run with both."""

import importlib

import pytest

from gradclip import ClipActivations, ClipGradients, GradientMonitor, HiddenStateMonitor, Norm
from gradclip.errors import TrainerError
from tests.support.small_trainings import ONE_EPOCH, fit, make

STRATEGIES = ["FSDPStrategy", "DeepSpeedStrategy"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("callback", [GradientMonitor(), ClipGradients(Norm(1.0))], ids=["monitor", "clip"])
def test_sharded_gradients_are_refused(lightning, strategy, callback):
    trainer = lightning.Trainer(**ONE_EPOCH, callbacks=[callback])
    kind = getattr(importlib.import_module(f"{lightning.__name__}.strategies"), strategy)
    trainer.strategy.__class__ = type("Sharded", (kind,), {})
    works = r"as in ddp, or ModelParallelStrategy with fully_shard \(FSDP 2\)$"
    with pytest.raises(TrainerError, match=rf"^strategy: got Sharded; \w+ needs whole gradients, {works}"):
        callback.on_fit_start(trainer, make(lightning))


@pytest.mark.parametrize("callback", [GradientMonitor(), HiddenStateMonitor()], ids=["gradients", "hidden states"])
def test_a_record_that_ends_with_its_process_is_reported(lightning, callback):
    trainer = lightning.Trainer(**ONE_EPOCH | {"devices": 2, "strategy": "ddp_fork"}, callbacks=[callback])
    with pytest.warns(UserWarning, match=rf"^{type(callback).__name__}: the Trainer trains in new processes, so its "):
        callback.on_fit_start(trainer, make(lightning))


def test_all_callbacks_can_be_combined(lightning):
    monitor = GradientMonitor()
    fit(lightning, make(lightning), monitor, HiddenStateMonitor(), ClipActivations(), ClipGradients(Norm(0.1)))
    assert monitor.record.norm_clipped == pytest.approx(0.1)
    assert monitor.record.cosine == pytest.approx(1.0)
