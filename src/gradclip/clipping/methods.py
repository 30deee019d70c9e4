"""The table of clipping methods, in the order of the documentation; a line here registers a method everywhere.

A method is named after its file: ``clip=norm`` is in ``norm.py``. :func:`gradclip.clipping.method_table` reads this
table as text.
"""

# ruff: noqa: I001, PLC0414
from gradclip.clipping.none import Identity as Identity
from gradclip.clipping.norm import Norm as Norm
from gradclip.clipping.value import Value as Value
from gradclip.clipping.norm_value import NormValue as NormValue
from gradclip.clipping.parameter_norm import ParameterNorm as ParameterNorm
from gradclip.clipping.normalize import Normalize as Normalize
from gradclip.clipping.adaptive import Adaptive as Adaptive
from gradclip.clipping.auto import Auto as Auto
from gradclip.clipping.zscore import ZScore as ZScore
from gradclip.clipping.parameter_ema import ParameterEMA as ParameterEMA
from gradclip.clipping.quantile import Quantile as Quantile
from gradclip.clipping.spike import Spike as Spike
from gradclip.clipping.stabilize import Stabilize as Stabilize
from gradclip.clipping.spectral import Spectral as Spectral
from gradclip.clipping.skip import Skip as Skip
