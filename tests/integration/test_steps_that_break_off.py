"""A step that raises an exception: completed steps stay in the record, and the user's exception is raised."""

import pytest
import pytorch_lightning
import torch

from gradclip import ClipGradients, GradientMonitor, HiddenStateMonitor, Norm
from tests.support.small_trainings import Training, fit, make
from tests.support.trainers import Points


class BrokenHook(Training):
    def on_before_optimizer_step(self, optimizer):
        if self.global_step == 5:
            raise RuntimeError("mine")


class BrokenOptimizer(torch.optim.SGD):
    error = RuntimeError

    def step(self, closure=None):
        loss = super().step(closure)
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 6:
            raise self.error("mine")
        return loss


class Interrupted(BrokenOptimizer):
    error = KeyboardInterrupt


class Optimized(Training):
    optimizer = BrokenOptimizer

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=0.01)


class Stopped(Optimized):
    optimizer = Interrupted


@pytest.mark.parametrize("training", [BrokenHook, Optimized, Stopped])
@pytest.mark.parametrize("flush_every", [2, 100])
def test_an_incomplete_step_is_dropped_and_completed_ones_stay(lightning, training, flush_every):
    monitor = GradientMonitor(flush_every)
    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)) as caught:
        fit(lightning, make(lightning, training), monitor, HiddenStateMonitor(), ClipGradients(Norm(1.0)))
    assert caught.type is not RuntimeError or str(caught.value) == "mine"
    assert monitor.record.step.tolist() == [1, 2, 3, 4, 5]
    assert monitor.record.norm.all()


class FullDisk(Points):
    def log_metrics(self, metrics, step=None):
        raise OSError("no space left")


def test_an_error_of_the_monitor_is_added_as_a_note_to_the_users_exception():
    with pytest.raises(RuntimeError, match="mine") as caught:
        fit(pytorch_lightning, make(pytorch_lightning, BrokenHook), GradientMonitor(), logger=FullDisk())
    assert caught.value.__notes__ == ["GradientMonitor could not record the latest steps: OSError: no space left"]


@pytest.mark.parametrize("training", [BrokenHook, Optimized])
def test_the_callback_can_be_used_again_after_an_exception(lightning, training):
    monitor, module = GradientMonitor(), make(lightning, training)
    with pytest.raises(RuntimeError, match="mine"):
        fit(lightning, module, monitor)
    fit(lightning, make(lightning), monitor)
    assert monitor.record.step.tolist() == [*range(1, 9)]
