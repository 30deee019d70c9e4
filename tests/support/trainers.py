"""Settings of Trainers in tests."""

SILENT = {  # nothing is printed or stored
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}
QUIET = SILENT | {"limit_val_batches": 0}  # nor validated
