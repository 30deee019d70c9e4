"""gradclip: reproduce exploding gradients, see them, choose a remedy and prove that it works.

The names below are imported on first use, so that ``import gradclip`` itself costs nothing.

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

if TYPE_CHECKING:
    from gradclip.callbacks.clip_activations import ClipActivations as ClipActivations
    from gradclip.callbacks.clip_gradients import ClipGradients as ClipGradients
    from gradclip.callbacks.gradient_monitor import GradientMonitor as GradientMonitor
    from gradclip.callbacks.hidden_state_monitor import HiddenStateMonitor as HiddenStateMonitor
    from gradclip.clipping.adaptive import Adaptive as Adaptive
    from gradclip.clipping.auto import Auto as Auto
    from gradclip.clipping.base import Clipper as Clipper
    from gradclip.clipping.base import Report as Report
    from gradclip.clipping.chain import Chain as Chain
    from gradclip.clipping.groups import Groups as Groups
    from gradclip.clipping.none import Identity as Identity
    from gradclip.clipping.norm import Norm as Norm
    from gradclip.clipping.norm_value import NormValue as NormValue
    from gradclip.clipping.normalize import Normalize as Normalize
    from gradclip.clipping.parameter_ema import ParameterEMA as ParameterEMA
    from gradclip.clipping.parameter_norm import ParameterNorm as ParameterNorm
    from gradclip.clipping.scheduled import Scheduled as Scheduled
    from gradclip.clipping.skip import Skip as Skip
    from gradclip.clipping.value import Value as Value
    from gradclip.clipping.zscore import ZScore as ZScore
    from gradclip.data.sequences import SequenceData as SequenceData
    from gradclip.data.series import SeriesData as SeriesData
    from gradclip.data.tabular import TabularData as TabularData
    from gradclip.errors import GradclipError as GradclipError
    from gradclip.models.mlp import MLP as MLP
    from gradclip.models.module import Classifier as Classifier
    from gradclip.models.module import Regressor as Regressor
    from gradclip.models.recurrent import GRU as GRU
    from gradclip.models.recurrent import LSTM as LSTM
    from gradclip.models.recurrent import RNN as RNN

_HOME = {
    "Adaptive": "clipping.adaptive",
    "Auto": "clipping.auto",
    "Chain": "clipping.chain",
    "Classifier": "models.module",
    "ClipActivations": "callbacks.clip_activations",
    "ClipGradients": "callbacks.clip_gradients",
    "Clipper": "clipping.base",
    "GRU": "models.recurrent",
    "GradclipError": "errors",
    "GradientMonitor": "callbacks.gradient_monitor",
    "Groups": "clipping.groups",
    "HiddenStateMonitor": "callbacks.hidden_state_monitor",
    "Identity": "clipping.none",
    "LSTM": "models.recurrent",
    "MLP": "models.mlp",
    "Norm": "clipping.norm",
    "NormValue": "clipping.norm_value",
    "Normalize": "clipping.normalize",
    "ParameterEMA": "clipping.parameter_ema",
    "ParameterNorm": "clipping.parameter_norm",
    "RNN": "models.recurrent",
    "Regressor": "models.module",
    "Report": "clipping.base",
    "Scheduled": "clipping.scheduled",
    "SequenceData": "data.sequences",
    "SeriesData": "data.series",
    "Skip": "clipping.skip",
    "TabularData": "data.tabular",
    "Value": "clipping.value",
    "ZScore": "clipping.zscore",
}

__version__ = "0.1.0"
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'gradclip' has no attribute {name!r}")
    return getattr(import_module(f"gradclip.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
