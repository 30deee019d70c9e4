"""Many trainings at once: replicas that differ in seed and thresholds, stacked under ``torch.vmap``."""
