"""gradclip: reproduce exploding gradients, see them, choose a remedy and prove that it works.

The public names are imported on first use, so ``import gradclip`` itself loads nothing. Clippers need torch and NumPy;
other names need an extra, which the error names if it is missing. Read ``clipping/base.py`` first: it has the contract
of all clipping methods.

Example:
    >>> import torch, gradclip
    >>> clipper = gradclip.Norm(value=1.0)
    >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
    >>> clipped, _, report = clipper(gradients, gradients, clipper.init(gradients))
    >>> clipped["weight"]
    tensor([0.6000, 0.8000])
    >>> float(report.norm), round(float(report.norm_clipped), 6)
    (5.0, 1.0)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gradclip.clipping import METHODS_FILE, re_exports

if TYPE_CHECKING:
    from gradclip.callbacks.clip_activations import ClipActivations as ClipActivations
    from gradclip.callbacks.clip_gradients import ClipGradients as ClipGradients
    from gradclip.callbacks.gradient_monitor import GradientMonitor as GradientMonitor
    from gradclip.callbacks.hidden_state_monitor import HiddenStateMonitor as HiddenStateMonitor
    from gradclip.cli.notebook import FinishedRun as FinishedRun
    from gradclip.cli.notebook import train as train
    from gradclip.clipping.base import Clipper as Clipper
    from gradclip.clipping.base import Report as Report
    from gradclip.clipping.chain import Chain as Chain
    from gradclip.clipping.groups import Groups as Groups
    from gradclip.clipping.methods import *  # noqa: F403
    from gradclip.clipping.scheduled import Scheduled as Scheduled
    from gradclip.data.sequences import SequenceData as SequenceData
    from gradclip.data.series import SeriesData as SeriesData
    from gradclip.data.tabular import TabularData as TabularData
    from gradclip.errors import GradclipError as GradclipError
    from gradclip.loops.watch import watch as watch
    from gradclip.models.mlp import MLP as MLP
    from gradclip.models.module import Classifier as Classifier
    from gradclip.models.module import Regressor as Regressor
    from gradclip.models.recurrent import GRU as GRU
    from gradclip.models.recurrent import LSTM as LSTM
    from gradclip.models.recurrent import RNN as RNN

_MODULES = re_exports(__file__) | re_exports(METHODS_FILE)  # where each public name is, by name

# The extras that install these packages; all other packages are in ``pipeline``.
_EXTRAS = {
    "accelerate": "accelerate",
    "lightning_fabric": "lightning",
    "pytorch_lightning": "lightning",
    "transformers": "transformers",
}

__version__ = "0.1.0"
__all__ = sorted(_MODULES)  # noqa: PLE0605


if not TYPE_CHECKING:  # otherwise a type checker would accept every name

    def __getattr__(name: str) -> object:
        """Import a public name from its module on first use (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module 'gradclip' has no attribute {name!r}")
        try:
            module = import_module(_MODULES[name])
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package == "gradclip":
                raise
            from gradclip.program import install_command

            extra = _EXTRAS.get(package, "pipeline")
            raise ImportError(f"gradclip.{name} needs {package}: {install_command(extra)}") from None
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
