"""Artifacts of a run: files in its folder; tags, parameters, config and data sets in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pyarrow
import torch
from pyarrow import parquet
from torch import Tensor, nn

from gradclip import keys
from gradclip.config.identity import data_name, fingerprint
from gradclip.config.schema import FigureFormat, TrainConfig, flatten
from gradclip.data.base import TrainingData
from gradclip.scores import CONTEXTS
from gradclip.tracking.records import Dataset, DatasetDescription, RunDescription, Store
from gradclip.tracking.run import TrackedRun
from gradclip.training.figures import FIGURES
from gradclip.training.job import Job
from gradclip.training.own_data import OwnData
from gradclip.training.result import Result

RESULT_FILES = (  # files that a run leaves in its folder, beside its figures
    keys.CONFIG_FILE,
    keys.EXPLOSION_TEXT,
    keys.EXPLOSION_JSON,
    keys.TELEMETRY_FILE,
    keys.HIDDEN_STATES_FILE,
    keys.WEIGHTS_FILE,
)


def make_run(job: Job, data: TrainingData, lock: Path | None = None) -> TrackedRun:
    """Return the run of a job, which :meth:`~gradclip.tracking.run.TrackedRun.begin` creates in the store.

    Args:
        job: the job.
        data: its data.
        lock: a lock that the process holds for all of its runs; by default, the run has its own in the job's folder.
    """
    tags = {} if job.resumed else {keys.COMMAND: job.command}
    store = Store.of(job.config.tracking)
    return TrackedRun(store, job.name, tags | _tags(job.config, data.digest), job.folder, job.parent, job.resumed, lock)


def _tags(config: TrainConfig, digest: str) -> dict[str, str]:
    tags = {
        keys.CLIP: config.clip.label,
        keys.SEED: str(config.seed),
        keys.DATA: data_name(config),
        keys.CONFIG_HASH: fingerprint(config, digest),
        keys.DATA_DIGEST: digest,
        keys.LOSS_REDUCTION: "mean" if config.loss else "",  # of all losses; that of a user-defined module is not known
    }
    return {key: value for key, value in tags.items() if value}


def describe_run(job: Job, datasets: Sequence[DatasetDescription]) -> RunDescription:
    """Return the settings of a run and the data sets that it reads, as they are stored."""
    return RunDescription(job.config_text, flatten(job.config), datasets)


def datasets_of(data: TrainingData) -> list[Dataset]:
    """Return the examples of each split as data sets; for a user-defined data module, only its name is known."""
    target = "" if isinstance(data, OwnData) else data.schema.target
    return [
        Dataset(f"{data.name} ({CONTEXTS[split]})", data.source, target, CONTEXTS[split], frame)
        for split, frame in data.frames().items()
    ]


def remove_results(folder: Path) -> None:
    """Remove the files that an earlier run left in a folder, so that they are not stored with the next run."""
    for name in RESULT_FILES:
        (folder / name).unlink(missing_ok=True)
    for path in (folder / keys.FIGURES_FOLDER).glob("*"):
        if path.stem.rstrip("_0123456789") in FIGURES and path.suffix[1:] in get_args(FigureFormat):
            path.unlink()


def write_result(job: Job, result: Result) -> None:
    """Write config, explosion report and telemetry into the folder of a job, which is created if necessary."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / keys.CONFIG_FILE).write_text(job.config_text)
    if result.explosion is not None:
        (job.folder / keys.EXPLOSION_FOLDER).mkdir(exist_ok=True)
        (job.folder / keys.EXPLOSION_TEXT).write_text(f"{result.explosion}\n")
        (job.folder / keys.EXPLOSION_JSON).write_text(result.explosion.to_json())
    write_telemetry(job.folder, result)


def write_weights(folder: Path, module: nn.Module) -> None:
    """Write a module's state dictionary into the folder of its run."""
    (folder / keys.WEIGHTS_FILE).parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in module.state_dict().items()}
    torch.save(state, folder / keys.WEIGHTS_FILE)


def write_telemetry(folder: Path, result: Result) -> None:
    """Write the gradient record to a Parquet file, and the norms at hidden states to another."""
    (folder / keys.TELEMETRY_FILE).parent.mkdir(parents=True, exist_ok=True)
    steps = pyarrow.table(result.record.to_columns())
    floats = [field.name for field in steps.schema if pyarrow.types.is_floating(field.type)]
    # Values rarely repeat, so no dictionary is used; splitting values by byte makes a smaller file in less time.
    encoded = pyarrow.BufferOutputStream()  # for a single write to disk; otherwise each column takes several
    parquet.write_table(steps, encoded, use_dictionary=False, use_byte_stream_split=floats)
    (folder / keys.TELEMETRY_FILE).write_bytes(encoded.getvalue())
    if hidden := result.hidden:
        hidden.to_frame().to_parquet(folder / keys.HIDDEN_STATES_FILE)
