"""Settings of Trainers in tests, and what their training needs of torch."""

import pytest
import torch

SILENT = {  # nothing is printed or stored
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}
QUIET = SILENT | {"limit_val_batches": 0}  # nor validated
NEEDS_FSDP_ON_CPU = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this version of torch shards by FSDP 2 on GPUs only"
)
