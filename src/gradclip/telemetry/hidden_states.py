"""Gradient norms with respect to the hidden states of recurrent layers, by time step."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradclip.arrays import Floats, Integers

if TYPE_CHECKING:
    import pandas as pd

MAX_SNAPSHOTS = 12  # optimizer steps that are kept per run
RecurrentLayer = tuple[str, int]  # the module's name, and the index of the layer within the module


@dataclass(frozen=True)
class HiddenStateRecord:
    """Gradient norms at the hidden states: a row for each recorded optimizer step, a column for each time step.

    Attributes:
        step: optimizer steps, counted from 1, ``[snapshots]``.
        norms: norms by name of the recurrent layer, ``[snapshots, time steps]``, in loss units per unit of activation.
            Each is the L2 norm, over the sequences of the batch and the units of the layer, of the derivative of the
            loss with respect to the hidden state; 0 if no gradient arrived. Snapshots with fewer time steps are aligned
            at the last one and have NaN before their first one. A layer that did not run has NaN.
    """

    step: Integers
    norms: dict[str, Floats]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row for each optimizer step, layer and time step; time steps are counted from 1."""
        import pandas as pd

        frames = []
        for layer, norms in self.norms.items():
            snapshots, time_steps = norms.shape
            columns = {
                "step": np.repeat(self.step, time_steps),
                "layer": layer,
                "time": np.tile(np.arange(1, time_steps + 1), snapshots),
                "hidden/grad_norm": norms.ravel(),
            }
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)


def layer_name(layer: RecurrentLayer) -> str:
    """Return the name of a recurrent layer in a record.

    Example:
        >>> layer_name(("network.recurrent", 0))
        'network.recurrent, layer 1'
    """
    module, index = layer
    return f"{module}, layer {index + 1}"
