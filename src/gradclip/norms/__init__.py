"""Norms that neither overflow nor underflow, of tensors, units and array rows, on CPUs and GPUs."""
