"""How far back in time gradients reach: their norm with respect to the hidden state, by time step."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gradclip.arrays import Floats, Integers


@dataclass(frozen=True)
class HiddenStateRecord:
    """Snapshots of some optimizer steps; one row for each of them, one column for each time step.

    Attributes:
        step: optimizer steps, counted from 1, ``[snapshots]``.
        norms: by recurrent layer, the L2 norm over the batch's sequences and the layer's units of the derivative of
            the loss with respect to the hidden state, ``[snapshots, time steps]``; 0 where no gradient came.
    """

    step: Integers
    norms: dict[str, Floats]

    def to_frame(self) -> pd.DataFrame:
        """One row for each optimizer step, layer and time step, which is counted from 1."""
        return pd.concat([self._layer_frame(layer, norms) for layer, norms in self.norms.items()], ignore_index=True)

    def _layer_frame(self, layer: str, norms: Floats) -> pd.DataFrame:
        snapshots, times = norms.shape
        return pd.DataFrame(
            {
                "step": np.repeat(self.step, times),
                "layer": layer,
                "time": np.tile(np.arange(1, times + 1), snapshots),
                "hidden/grad_norm": norms.ravel(),
            }
        )
