"""What the gradients did: norms, percentiles, the first non-finite step and where it stood."""
