"""Norms that neither overflow nor vanish: of tensors, of units, of the rows of arrays; on CPUs and GPUs."""
