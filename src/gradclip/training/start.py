"""Start a training run: slow imports and the opening of the store go on in parallel."""

import os
from typing import TYPE_CHECKING

from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, load_module
from gradclip.tracking.records import Store
from gradclip.training.job import Job

if TYPE_CHECKING:
    from gradclip.training.result import Result


def train_job(job: Job) -> "Result":
    """Load what training needs, MLflow beside torch, and train; see :func:`gradclip.training.pipeline.train`."""
    if job.config.tracking.uri and job.is_main:
        ask(Store.of(job.config.tracking), Operations.open)
    load_module("gradclip.training.pipeline")
    from gradclip.training.pipeline import train

    return train(job)


def is_main_process() -> bool:
    """Whether this is the first process of a command: Lightning starts others with their rank in the environment."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0
