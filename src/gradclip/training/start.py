"""Start of a training run: torch is imported while the store is being opened."""

import os
from typing import TYPE_CHECKING

from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, load_module
from gradclip.tracking.records import Store
from gradclip.training.job import Job

if TYPE_CHECKING:
    from gradclip.training.result import Result


def train_job(job: Job) -> "Result":
    """Open the store while torch is loaded, and train; see :func:`gradclip.training.pipeline.train`."""
    if job.config.tracking.uri and job.is_main:
        ask(Store.of(job.config.tracking), Operations.open)
    load_module("gradclip.training.pipeline")
    from gradclip.training.pipeline import train

    return train(job)


def is_main_process() -> bool:
    """Return whether this is the first process of a command; Lightning starts others with ``LOCAL_RANK`` set."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0
