"""The callback that saves the random number generators' states in checkpoints and restores them."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.errors import TrainerError


class RandomState(Callback):
    """Keep the states of Python's, NumPy's and torch's random number generators in checkpoints.

    A resumed run then draws the same numbers, for dropout for example, as an uninterrupted one.

    Raises:
        TrainerError: at the start of a resumed run, if the number of GPUs differs from the checkpoint's.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all generators, as numbers and tensors that ``weights_only`` loading accepts."""
        _, words, *rest = np.random.get_state(legacy=True)
        return {
            "python": random.getstate(),
            "numpy": (torch.from_numpy(np.asarray(words).astype(np.int64)), *rest),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states of a checkpoint until training starts."""
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the states, as late as possible: Lightning's own preparations draw random numbers too."""
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        saved, now = len(state["cuda"]), torch.cuda.device_count()
        if saved not in (0, now):
            raise TrainerError(f"resume: got {now} GPUs; must be {saved}, as when the checkpoint was saved")
        words, *rest = state["numpy"]
        random.setstate(state["python"])
        np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
