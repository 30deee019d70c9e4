"""A clipper of a user, and steps of clippers on synthetic gradients."""

import torch

from gradclip import Clipper


class Shrinking(Clipper):
    """A clipper that divides gradients by the number of calls so far, which is its state."""

    def init(self, parameters):
        return {"calls": torch.zeros(())}

    def transform(self, gradients, parameters, state):
        calls = state["calls"] + 1
        return {name: gradient / calls for name, gradient in gradients.items()}, {"calls": calls}


def reports_and_states(clipper, norms):
    """Yield the report and the state after each step, for one gradient with the given norms."""
    state = clipper.init({"only": torch.zeros(2)})
    for norm in norms:
        gradients = {"only": torch.tensor([0.6, 0.8], dtype=torch.float64) * norm}
        _, state, report = clipper(gradients, gradients, state)
        yield report, state


def clipped_norms(clipper, norms):
    """Return the norm after clipping at each step, for one gradient with the given norms."""
    return [report.norm_clipped.item() for report, _ in reports_and_states(clipper, norms)]
