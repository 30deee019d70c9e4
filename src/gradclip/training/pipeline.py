"""The training pipeline, from a config to a finished, tracked run. Read :func:`train` first."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gradclip.callbacks.checkpoints import Checkpoints
from gradclip.callbacks.clip_activations import ClipActivations
from gradclip.callbacks.interruption import Interruption
from gradclip.callbacks.trainer_checks import callbacks_of
from gradclip.errors import ConfigError, Interrupted, TrackingError, disk_errors, memory_errors
from gradclip.models.module import SupervisedModule
from gradclip.telemetry.record import GradientRecord
from gradclip.tracking.logger import RunLogger
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import CHECKPOINT_FILE
from gradclip.tracking.run import TrackedRun
from gradclip.tracking.scratch import scratch_folder
from gradclip.training.artifacts import (
    datasets_of,
    describe_run,
    make_run,
    remove_results,
    write_result,
    write_telemetry,
    write_weights,
)
from gradclip.training.components import Components, build_components
from gradclip.training.description import end_tags
from gradclip.training.figures import draw_figures
from gradclip.training.job import Job
from gradclip.training.lightning_errors import lightning_errors
from gradclip.training.model_package import package_model
from gradclip.training.own import as_checkpoint, package_of
from gradclip.training.result import BOUNDED_LOSSES, Result


def train(job: Job) -> Result:
    """Train one network and track it, from the beginning or from the last checkpoint of a resumed run.

    Nothing is written to the store before data, network and trainer are built.

    Raises:
        GradclipError: data, network, trainer or store cannot be used.
        Interrupted: Ctrl-C or SIGTERM stopped the training; its progress is saved and the run is closed.
    """
    smaller = "trainer.batch_size, network or data set"
    with Interruption(job.stop_file) as interruption, disk_errors(job.folder), memory_errors(smaller):
        components = build_components(job.config, job.folder, job.is_main)
        run = open_run(job, components) if job.is_main and job.config.tracking.uri else None
        try:
            if job.is_main:
                remove_results(job.folder)
            attach(job, components, interruption, run)
            fit(job, components)
            interruption.check()
            result = replace(collect(components), run=run)
            if job.is_main:
                save(job, result)
        except Interrupted as stop:
            with suppress(Interrupted):  # a second request skips the rest; the first one has the step and the run
                end_early(job, components, run, stop)
            raise
        except BaseException as error:
            if run is not None:
                with suppress(TrackingError):  # the first error is reported
                    run.end("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        if run is not None:
            run.end("FINISHED")
            shutil.rmtree((job.folder / CHECKPOINT_FILE).parent, ignore_errors=True)
    return result


def open_run(job: Job, components: Components) -> TrackedRun:
    """Create the run, or reopen a resumed one, and store its settings and data sets.

    Raises:
        ConfigError: the table of a resumed run has changed since the command began.
        TrackingError: the store cannot be opened, or refuses the run.
    """
    if job.resumed and job.resumed.data_digest != components.data.digest:
        raise ConfigError("resume: the table has changed since the run began; start a new run")
    run = make_run(job, components.data).begin()
    descriptions = ask(run.store, Operations.describe_datasets, datasets_of(components.data))
    run.begun  # noqa: B018  # raises if the store cannot be opened
    run.describe(describe_run(job, result_of(descriptions)))
    if job.config.tracking.system_metrics:
        run.write(Operations.start_system_metrics)
    return run


def attach(job: Job, components: Components, interruption: Interruption, run: TrackedRun | None) -> None:
    """Connect the trainer to the run, to checkpoints in the job's folder and to requests to stop.

    Args:
        job: the job.
        components: components of the training run, with the trainer.
        interruption: the callback that records requests to stop.
        run: the run to log to; None if nothing is tracked.
    """
    tracking = job.config.tracking
    folder = (job.folder / CHECKPOINT_FILE).parent if tracking.uri else None
    kind = as_checkpoint(Checkpoints, package_of(components.module))
    checkpoints = kind(folder, tracking.checkpoint_seconds, interruption)
    callbacks_of(components.trainer).extend([interruption, checkpoints])
    if run is not None:
        checkpoints.on_saved = run.keep_checkpoint
        components.trainer.loggers = [RunLogger(run, tracking.all_points_until)]


def fit(job: Job, components: Components) -> None:
    """Train, from the beginning or from a checkpoint.

    Raises:
        TrainerError: Lightning cannot train with these settings.
    """
    module, data = components.module, components.data_module
    with lightning_errors("trainer: Lightning cannot train with these settings"):
        # Lightning converts the module only after it has loaded a checkpoint, which would round its weights to float32.
        components.trainer.precision_plugin.convert_module(module)
        components.trainer.fit(module, datamodule=data, ckpt_path=job.checkpoint, weights_only=True)


def collect(components: Components) -> Result:
    """Collect the result from the module and the callbacks."""
    module, callbacks = components.module, callbacks_of(components.trainer)
    backward = [callback.clip_fraction for callback in callbacks if isinstance(callback, ClipActivations)]
    ours = module if isinstance(module, SupervisedModule) else None
    return Result(
        data=components.data,
        score_scale=components.score_scale,
        make_network=lambda: ours.network if ours else module,
        network_arguments=components.network_arguments,
        record=GradientRecord.interleave([*components.monitor.records.values()]),
        curves=components.curves,
        hidden=components.hidden.record,
        learning_rate=components.monitor.learning_rate,
        accumulated=components.trainer.accumulate_grad_batches,
        loss_is_bounded=ours is not None and isinstance(ours.loss, BOUNDED_LOSSES),
        clip_fraction=backward[0] if backward else None,  # the record has only gradients of weights
    )


def save(job: Job, result: Result) -> None:
    """Write summary, model, telemetry and figures; the store writes each while the next is being prepared."""
    config, run, summary = job.config, result.run, result.summary
    with scratch_folder() as scratch:
        try:
            if run is not None:
                run.write_summary(summary.metrics(), end_tags(config, result))
                if config.log_model and summary.outcome != "diverged":  # the weights of a diverged run may be NaN
                    save_model(job.folder, scratch, result, run)
            write_result(job, result)
            if config.figures:
                draw_figures(job, result)
            if run is not None:
                run.write_run_files()
        finally:
            if run is not None:
                run.wait()  # until the store has read the scratch files


def save_model(folder: Path, scratch: Path, result: Result, run: TrackedRun) -> None:
    """Store the trained model; only the weights of a user-defined module, whose inputs and outputs are not known.

    Args:
        folder: folder of the run.
        scratch: folder for files that the store reads.
        result: result of the training run.
        run: the run in the store.
    """
    if result.network_arguments is None:
        write_weights(folder, result.network)
    else:
        files = package_model(scratch, result.network, result.network_arguments, result.data.schema)
        run.write(Operations.write_model, files)


def end_early(job: Job, components: Components, run: TrackedRun | None, stop: Interrupted) -> None:
    """Save the progress of a stopped run, and close it.

    Args:
        job: the job.
        components: components of the training run, with the trainer.
        run: the run to close; None if nothing is tracked.
        stop: the interruption, to which the last step and the id of the run are added.
    """
    stop.step, stop.run_id = components.trainer.global_step, run.run_id if run is not None else None
    try:
        if job.is_main and all(components.curves.values()):
            result = collect(components)
            write_telemetry(job.folder, result)
            if job.config.figures:
                draw_figures(job, result)
    finally:
        if run is not None:
            run.write_run_files()
            run.end("KILLED")
            stop.unsent, stop.refused = run.unsent, run.refused
