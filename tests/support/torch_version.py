"""Marks of tests that need more than the oldest version of torch that is allowed."""

import pytest
import torch

NEEDS_MUON = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
NEEDS_FSDP_ON_CPU = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this torch shards by FSDP 2 on GPUs only"
)
