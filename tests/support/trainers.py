"""Settings and callbacks of Trainers in tests."""

from pytorch_lightning import Callback

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
    """A callback that stops training by an error at its first batch."""

    def on_train_batch_end(self, *arguments):
        raise RuntimeError("stop")
