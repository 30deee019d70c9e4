"""Settings, callbacks and a logger of Trainers in tests."""

from pytorch_lightning import Callback
from pytorch_lightning.loggers.logger import Logger

SILENT = {  # nothing is printed or stored
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}
QUIET = SILENT | {"limit_val_batches": 0}  # nor validated


class Failing(Callback):
    """A callback that stops training by an error within its first batch, after the backward pass."""

    def on_after_backward(self, *arguments):
        raise RuntimeError("stop")


class Points(Logger):
    """A logger that keeps every point: the value of each step, by the name of the metric."""

    name, version = "points", 0

    def __init__(self):
        super().__init__()
        self.points = {}

    def log_metrics(self, metrics, step=None):
        for key, value in metrics.items():
            self.points.setdefault(key, {})[step] = value

    def log_hyperparams(self, *arguments, **settings):
        pass
