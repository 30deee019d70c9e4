"""Config in, finished tracked run out. Read :func:`train` from top to bottom."""

import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import yaml
from pyarrow import parquet
from pytorch_lightning import Callback

from gradclip import keys
from gradclip.callbacks.checkpoints import Checkpoints
from gradclip.callbacks.clip_activations import ClipActivations
from gradclip.callbacks.interruption import Interruption
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import fingerprint, flatten
from gradclip.data.base import TrainingData
from gradclip.diagnosis.explosion import Explosion
from gradclip.errors import Interrupted, TrackingError, disk_errors
from gradclip.models.optimization import make_loss
from gradclip.tracking.logger import RunLogger
from gradclip.tracking.records import CHECKPOINT_FILE, RUN_FILE, Dataset, Parent, StoppedRun, Store
from gradclip.tracking.run import TrackedRun
from gradclip.training.components import Parts, build
from gradclip.training.figures import draw_figures
from gradclip.training.model_package import package_model
from gradclip.training.outcome import Summary
from gradclip.training.result import BOUNDED_LOSSES, Trained

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, five times as quick where there is one


@dataclass(frozen=True)
class Job:
    """What a run is called and where its files go.

    Attributes:
        name: the run's name.
        folder: for its figures, telemetry and config.
        tags: from the start, such as the command.
        parent: the multirun that it belongs to.
        is_main: whether this process tracks and draws; of several that train together only the first does.
        resumed: the run that is taken up; None begins one.
        stop_file: has the number of a signal, once the run is to stop.
    """

    name: str
    folder: Path
    tags: dict[str, str]
    parent: Parent | None = None
    is_main: bool = True
    resumed: StoppedRun | None = None
    stop_file: Path | None = None


@dataclass(frozen=True)
class Result:
    """A finished run: its name, its place in the store, its folder, its summary, and what happened if it exploded."""

    name: str
    experiment_id: str | None
    run_id: str | None
    folder: Path
    summary: Summary
    explosion: Explosion | None
    unsent: int = 0  # writes that the store has not taken yet


def train(config: TrainConfig, job: Job) -> Result:
    """Train one network and track it, from its beginning or from the last checkpoint of a run that is taken up.

    Nothing is written to the store before data, network and trainer stand.

    Raises:
        GradclipError: data, network, trainer or store are not fit for it.
        Interrupted: Ctrl-C or SIGTERM came; what there was is saved, and the run closed.
    """
    with Interruption(job.stop_file) as interruption, disk_errors(job.folder):
        parts = build(config, job.folder, job.is_main)
        run = open_run(config, job, parts) if job.is_main and config.tracking.uri else None
        try:
            attach(config, job, parts, interruption, run)
            parts.trainer.fit(parts.module, parts.data, ckpt_path=checkpoint(job), weights_only=True)
            interruption.check()
            trained = collect(parts)
            summary, explosion = trained.summary(), trained.explosion()
            if job.is_main:
                write_report(job.folder, explosion)
                save(config, job, trained, summary, run)
        except Interrupted as stop:
            end_early(config, job, parts, run, stop)
            raise
        except BaseException as error:
            if run is not None:
                with suppress(TrackingError):  # what went wrong first is told
                    run.end("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        if run is not None:
            run.end("FINISHED")
            shutil.rmtree((job.folder / CHECKPOINT_FILE).parent, ignore_errors=True)
    experiment_id, run_id = (run.experiment_id, run.run_id) if run else (None, None)
    return Result(job.name, experiment_id, run_id, job.folder, summary, explosion, run.unsent if run else 0)


def attach(config: TrainConfig, job: Job, parts: Parts, interruption: Interruption, run: TrackedRun | None) -> None:
    """Let the trainer log to the run, save itself beside it, and be stopped."""
    callbacks: list[Callback] = parts.trainer.callbacks  # type: ignore[attr-defined]
    folder = (job.folder / CHECKPOINT_FILE).parent if config.tracking.uri else None
    checkpoints = Checkpoints(folder, config.tracking.checkpoint_seconds, interruption)
    callbacks += [interruption, checkpoints]
    if run is not None:
        checkpoints.on_saved = run.keep_checkpoint
        parts.trainer.loggers = [RunLogger(run)]


def checkpoint(job: Job) -> Path | None:
    """The file that a run that is taken up goes on from; None where it has to begin again."""
    path = job.folder / CHECKPOINT_FILE
    return path if job.resumed is not None and path.exists() else None


def open_run(config: TrainConfig, job: Job, parts: Parts) -> TrackedRun:
    """Create the run, or open it again, with everything that is known before training."""
    tracking = config.tracking
    store, tags = Store.of(tracking), job.tags | run_tags(config)
    run = TrackedRun(store, job.name, tags, job.folder, job.parent, job.resumed)
    (job.folder / RUN_FILE).write_text(json.dumps({"run_id": run.run_id}))
    run.write_text(to_yaml(config), keys.CONFIG_FILE)
    run.write_parameters(flatten(config))
    run.write_datasets(datasets(parts.data))
    if tracking.system_metrics:
        run.start_system_metrics()
    return run


def run_tags(config: TrainConfig) -> dict[str, str]:
    """What is told of a run from its start."""
    reduction = str(make_loss(**config.loss.model_dump()).reduction)
    tags = {keys.CLIP: config.clip.label, keys.LOSS_REDUCTION: reduction, keys.SEED: str(config.seed)}
    return tags | {keys.CONFIG_HASH: fingerprint(config)}


def datasets(data: TrainingData) -> list[Dataset]:
    """Training and test examples, as the store is told of them."""
    return [
        Dataset(f"{data.name} ({context})", data.source, data.raw.target, context, frame)
        for context, frame in data.frames().items()
    ]


def collect(parts: Parts) -> Trained:
    """Gather what module and callbacks hold at the end."""
    train, test = parts.module.curves.values()
    callbacks: list[Callback] = parts.trainer.callbacks  # type: ignore[attr-defined]
    backward = [callback.clip_fraction for callback in callbacks if isinstance(callback, ClipActivations)]
    return Trained(
        data=parts.data,
        network=parts.module.network,
        description=parts.network,
        record=parts.monitor.record,
        curves=(train, test),
        hidden=parts.hidden.record,
        learning_rate=parts.monitor.learning_rate,
        accumulated=parts.trainer.accumulate_grad_batches,
        loss_is_bounded=isinstance(parts.module.loss, BOUNDED_LOSSES),
        clip_fraction=backward[0] if backward else None,  # what it clips is not yet a gradient of the weights
    )


def write_report(folder: Path, explosion: Explosion | None) -> None:
    """Write the explosion report, for people and for programs."""
    if explosion is not None:
        (folder / keys.EXPLOSION_TEXT).parent.mkdir(parents=True, exist_ok=True)
        (folder / keys.EXPLOSION_TEXT).write_text(f"{explosion}\n")
        (folder / keys.EXPLOSION_JSON).write_text(explosion.to_json())


def save(config: TrainConfig, job: Job, trained: Trained, summary: Summary, run: TrackedRun | None) -> None:
    """Write summary, model, telemetry and figures; the store works on one while the next is made."""
    with tempfile.TemporaryDirectory() as scratch:
        if run is not None:
            run.write_summary(summary.metrics(), summary.tags())
            if config.log_model and summary.outcome != "diverged":  # weights of NaN are no model
                network, data = trained.network, trained.data
                run.write_model(package_model(Path(scratch), network, trained.description, data.raw, data.shape))
        write_telemetry(job.folder, trained)
        (job.folder / keys.CONFIG_FILE).write_text(to_yaml(config))
        if config.figures:
            draw_figures(job.folder / keys.FIGURES_FOLDER, config, trained, summary)
        if run is not None:
            run.write_files(job.folder)
            run.wait()  # for the store to have read the scratch files


def end_early(config: TrainConfig, job: Job, parts: Parts, run: TrackedRun | None, stop: Interrupted) -> None:
    """Save what there is of a run that was stopped, and close it."""
    stop.step, stop.run_id = parts.trainer.global_step, run.run_id if run is not None else None
    try:
        if job.is_main and all(parts.module.curves.values()):
            trained = collect(parts)
            write_telemetry(job.folder, trained)
            if config.figures:
                draw_figures(job.folder / keys.FIGURES_FOLDER, config, trained, trained.summary())
    finally:
        if run is not None:
            run.write_files(job.folder)
            run.end("KILLED")
            stop.unsent = run.unsent


def to_yaml(config: TrainConfig) -> str:
    """The resolved config, as it is stored."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def write_telemetry(folder: Path, trained: Trained) -> None:
    """Write every step's norms, of every parameter, to a Parquet file; those of hidden states to another."""
    (folder / keys.TELEMETRY_FILE).parent.mkdir(parents=True, exist_ok=True)
    steps = pyarrow.table(trained.record.to_columns())
    parquet.write_table(steps, folder / keys.TELEMETRY_FILE, use_dictionary=False)  # hardly a number comes twice
    if hidden := trained.hidden:
        hidden.to_frame().to_parquet(folder / keys.HIDDEN_STATES_FILE)
