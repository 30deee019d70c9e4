"""Random numbers go on where a checkpoint left them."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.errors import TrainerError


class RandomState(Callback):
    """Keep the state of Python's, NumPy's and torch's random numbers in checkpoints, so that dropout goes on as it was.

    Raises:
        TrainerError: on taking up, if there are other GPUs than before.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return all states as plain numbers and tensors."""
        _, words, *rest = np.random.get_state(legacy=True)
        return {
            "python": random.getstate(),
            "numpy": (torch.from_numpy(np.asarray(words).astype(np.int64)), *rest),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states from a checkpoint."""
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with them, as late as can be: Lightning's own preparations draw numbers too."""
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        if len(state["cuda"]) not in (0, torch.cuda.device_count()):
            raise TrainerError(f"resume: got {len(state['cuda'])} GPUs before, {torch.cuda.device_count()} now")
        words, *rest = state["numpy"]
        random.setstate(state["python"])
        np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
