"""The table of clipping methods: ``clip=<name>`` and the clipper it builds."""

from gradclip.clipping.base import Clipper
from gradclip.clipping.none import Identity
from gradclip.clipping.norm import Norm
from gradclip.clipping.norm_value import NormValue
from gradclip.clipping.value import Value

METHODS: dict[str, type[Clipper]] = {
    "none": Identity,
    "norm": Norm,
    "value": Value,
    "norm_value": NormValue,
}
LIGHTNING_METHODS = frozenset({"none", "norm", "value"})  # what the Trainer does by itself
