"""Which figures a run gets, and what each is drawn from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from gradclip import plots
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.training.result import Result

SCORE_LABELS = {"mse": "mean squared error (target unit²)", "accuracy": "accuracy (share of right predictions)"}


def draw_figures(folder: Path, config: TrainConfig, result: Result) -> None:
    """Draw the target, the learning curve and the gradient norms.

    Args:
        folder: where they are written.
        config: of the run.
        result: of its training.
    """
    label = config.clip.label
    figures = data_figures(result.data) | gradient_figures(config, result) | hidden_figures(result, label)
    for name, plot in figures.items():
        plots.draw(folder / f"{name}.png", plot)


def gradient_figures(config: TrainConfig, result: Result) -> dict[str, Callable[[Figure], None]]:
    """What every training shows: its learning curve, its gradients and its updates."""
    record, summary = result.record, result.summary
    train, test = result.curves
    clip, where = config.clip, summary.divergence
    share = "" if clip.name == "none" else f", {summary.clip_fraction:.0%} of the steps clipped"
    return {
        "learning_curve": partial(
            plots.plot_learning_curve,
            train=train,
            test=test,
            score=SCORE_LABELS.get(summary.score.name, summary.score.name),
            baseline=result.score_scale.baseline,
            title=f"Learning curve, clip {clip.label}",
            divergence=where,
        ),
        "gradient_norm": partial(
            plots.plot_norms,
            step=record.step,
            norm=record.norm,
            norm_clipped=record.norm_clipped,
            thresholds=clip.thresholds,
            title=f"Gradient norm, clip {clip.label}{share}",
            divergence=where,
            state=clip.norms_state,
        ),
        "gradient_norm_by_parameter": partial(
            plots.plot_heat_map,
            step=record.step,
            names=record.names,
            norms=record.norms,
            divergence=where,
            state=clip.norms_state,
        ),
        "update_ratio": partial(
            plots.plot_update_ratios, step=record.step, names=record.names, ratios=record.update_ratios
        ),
        "gradient_norm_histogram": partial(
            plots.plot_norm_histogram, norm=record.norm, thresholds=clip.thresholds, state=clip.norms_state
        ),
    }


def data_figures(data: TrainingData) -> dict[str, Callable[[Figure], None]]:
    """What there is to see of the data before training: the target, where it has a unit of its own."""
    frames = [frame for frame in data.frames().values() if frame is not None]
    if not frames:
        return {}
    target = data.schema.target
    train, test = (frame[target].to_numpy(dtype=float) for frame in frames)
    return {"target": partial(plots.plot_target, train=train, test=test, unit=f"{target} (its own unit)")}


def hidden_figures(result: Result, label: str) -> dict[str, Callable[[Figure], None]]:
    """How gradients fared on their way back through time, one figure for each recurrent layer."""
    record = result.hidden
    if record is None:
        return {}
    several = len(record.norms) > 1
    return {
        f"hidden_state_gradient{f'_{number}' if several else ''}": partial(
            plots.plot_hidden_states,
            step=record.step,
            norms=norms,
            title=f"Gradient at the hidden state, clip {label}",
            layer=layer if several else "",
        )
        for number, (layer, norms) in enumerate(record.norms.items(), start=1)
    }
