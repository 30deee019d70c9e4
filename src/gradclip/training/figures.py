"""The figures of a run, and the data that each is drawn from."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from gradclip import keys
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.data.sequences import SequenceData
from gradclip.norms.arrays import differ
from gradclip.plots.gradients import plot_coefficients, plot_norm_histogram, plot_norms
from gradclip.plots.heat_maps import plot_heat_map, plot_hidden_states
from gradclip.plots.style import draw
from gradclip.plots.target import plot_confusion, plot_predictions, plot_target
from gradclip.plots.training import plot_learning_curve, plot_step_losses
from gradclip.plots.updates import plot_update_ratios
from gradclip.scores import ACCURACY, LoggedScore, judging_split
from gradclip.training.clipping import thresholds_at
from gradclip.training.job import Job
from gradclip.training.own_data import OwnData
from gradclip.training.predictions import count_confusions, predict_test_examples
from gradclip.training.result import Result

Figures = dict[str, Callable[[Figure], None]]
SCORE_LABELS = {"mse": "mean squared error (target unit²)", "accuracy": "accuracy (fraction of correct predictions)"}
FIGURES = {  # names of all figures; that of a hidden state ends with the number of its layer in the file name
    "target",
    "learning_curve",
    "gradient_norm",
    "gradient_norm_by_parameter",
    "gradient_norm_histogram",
    "clipping_coefficient",
    "update_ratio",
    "hidden_state_gradient",
    "predictions",
    "confusion",
}
MIN_EPOCHS = 2  # if fewer have a finite score, a diverged run shows the loss by step


def draw_figures(job: Job, result: Result) -> None:
    """Draw the target, the learning curve, the gradients and the predictions, as files in the folder of a job."""
    config, label = job.config, job.config.clip.label
    figures = data_figures(result.data) | gradient_figures(config, result) | hidden_figures(label, result)
    figures |= {"learning_curve": learning_curve(label, result)} | prediction_figures(label, result)
    for name, plot in figures.items():
        draw(job.folder / keys.FIGURES_FOLDER / f"{name}.{config.figure_format}", plot)


def learning_curve(label: str, result: Result) -> Callable[[Figure], None]:
    """Return a plot of the score by epoch, or of the loss by step if the run diverged too early for that."""
    summary, curves = result.summary, result.curves
    where, title = summary.divergence, f"Learning curve, clip {label}"
    is_logged = isinstance(summary.score, LoggedScore)  # by a module, which may measure it on any examples
    if where is not None and np.isfinite(curves["train"]).sum() < MIN_EPOCHS:
        record = result.record
        return partial(plot_step_losses, step=record.step, loss=record.loss, title=title, divergence=where)
    return partial(
        plot_learning_curve,
        curves=curves,
        score=SCORE_LABELS.get(summary.score.name, summary.score.name),
        baseline=result.score_scale.baseline_on(judging_split(curves)),
        title=title,
        divergence=where,
        is_fraction=summary.score is ACCURACY,
        labels={split: summary.score.by_epoch(split) for split in curves} if is_logged else {},
    )


def gradient_figures(config: TrainConfig, result: Result) -> Figures:
    """Return the figures of gradients and updates; the clipping coefficient only if clipping changed a norm."""
    record, summary, clip = result.record, result.summary, config.clip
    fraction = "" if clip.name == "none" else f" ({summary.clip_fraction:.0%} clipped)"
    thresholds = thresholds_at(config, record.step)
    figures: Figures = {
        "gradient_norm": partial(
            plot_norms,
            step=record.step,
            norm=record.norm,
            norm_clipped=record.norm_clipped,
            max_abs=record.max_abs,
            thresholds=thresholds,
            title=f"Gradient norm, clip {clip.label}{fraction}",
            divergence=summary.divergence,
            state=clip.norms_state,
        ),
        "gradient_norm_by_parameter": partial(
            plot_heat_map,
            step=record.step,
            names=record.names,
            norms=record.norms,
            norms_clipped=record.norms_clipped,
            divergence=summary.divergence,
            title=clip.norms_state,
        ),
        "update_ratio": partial(plot_update_ratios, step=record.step, names=record.names, ratios=record.update_ratios),
        "gradient_norm_histogram": partial(
            plot_norm_histogram, norm=record.norm, thresholds=thresholds, state=clip.norms_state
        ),
    }
    if differ(record.norm, record.norm_clipped):
        title = f"Clipping coefficient, clip {clip.label}"
        figures["clipping_coefficient"] = partial(
            plot_coefficients, step=record.step, coefficient=record.coefficient, title=title
        )
    return figures


def prediction_figures(label: str, result: Result) -> Figures:
    """Return the figure of predictions for test examples; none if the run diverged, or for user-defined classes."""
    if result.summary.divergence is not None or result.network_arguments is None or isinstance(result.data, OwnData):
        return {}
    predictions, schema = predict_test_examples(result), result.data.schema
    title = f"Predictions for test examples, clip {label}"
    if not np.isfinite(predictions.predicted).all():
        return {}
    if schema.is_classification:
        classes = result.data.shape.outputs[-1]
        names = [str(label) for label in schema.labels or range(classes)]
        counts = count_confusions(predictions, classes)
        return {"confusion": partial(plot_confusion, counts=counts, names=names, title=title)}
    unit = f"{schema.target} (its own unit)"
    target, predicted = predictions
    return {"predictions": partial(plot_predictions, target=target, predicted=predicted, unit=unit, title=title)}


def data_figures(data: TrainingData) -> Figures:
    """Return the figure of the target in its own unit; none for classes, generated tasks and user-defined data."""
    if isinstance(data, SequenceData | OwnData) or data.schema.is_classification:
        return {}
    target = data.schema.target
    rows = {split: frame[target].to_numpy(dtype=float) for split, frame in data.frames().items() if frame is not None}
    return {"target": partial(plot_target, rows=rows, unit=f"{target} (its own unit)")}


def hidden_figures(label: str, result: Result) -> Figures:
    """Return the figures of gradients propagated back through time, one for each recurrent layer."""
    record = result.hidden
    if record is None:
        return {}
    plot = partial(plot_hidden_states, step=record.step, title=f"Gradient at the hidden state, clip {label}")
    if len(record.norms) == 1:
        (norms,) = record.norms.values()
        return {"hidden_state_gradient": partial(plot, norms=norms)}
    return {
        f"hidden_state_gradient_{number}": partial(plot, norms=norms, layer=layer)
        for number, (layer, norms) in enumerate(record.norms.items(), start=1)
    }
