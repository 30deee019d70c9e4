"""Steps of clippers on synthetic gradients."""

import torch


def clipped_norms(clipper, norms):
    """Return the norm after clipping at each step, for one gradient with the given norms."""
    state, kept = clipper.init({"only": torch.zeros(2)}), []
    for norm in norms:
        gradients = {"only": torch.tensor([0.6, 0.8], dtype=torch.float64) * norm}
        _, state, report = clipper(gradients, gradients, state)
        kept.append(report.norm_clipped.item())
    return kept
