"""The description of a run on its MLflow page: its outcome, the effect of clipping, what to try."""

from gradclip import keys
from gradclip.config.identity import data_identity
from gradclip.config.schema import TrainConfig, flatten
from gradclip.diagnosis.remedy import Remedy
from gradclip.formatting import format_scores, format_value, markdown_cell
from gradclip.tracking.views import order_tag
from gradclip.training.result import Result

LINE_BREAK = "  \n"  # in Markdown


def end_tags(config: TrainConfig, result: Result) -> dict[str, str]:
    """Return the tags of a run that has ended: its outcome, its description, and its position in the view."""
    summary = result.summary
    data = data_identity(flatten(config), result.data.digest) | {"score": summary.score.name}
    order = order_tag(data, summary.score.error(summary.scores[summary.choosing_split]))
    return summary.tags() | {keys.DESCRIPTION: describe(config, result), keys.ORDER: order}


def describe(config: TrainConfig, result: Result) -> str:
    """Describe a run in Markdown, one line each for its outcome, its clipping and, if it exploded, what to try."""
    return LINE_BREAK.join(filter(None, (_outcome(result), _clipping(config, result), _what_to_try(result))))


def _outcome(result: Result) -> str:
    summary = result.summary
    word = f"**{summary.outcome.capitalize()}**"
    if (where := summary.divergence) is not None:
        return f"{word} at step {where.step} (epoch {where.epoch}), in the {markdown_cell(where.place)}."
    return f"{word}. {markdown_cell(format_scores(summary.score.name, summary.scores))}."


def _clipping(config: TrainConfig, result: Result) -> str:
    summary = result.summary
    median, _, _, largest = summary.norm_percentiles
    norms = f"Gradient norm {config.clip.norms_state}: median {format_value(median)}, largest {format_value(largest)}."
    if config.clip.name == "none":
        return norms
    return f"Clipping: {markdown_cell(config.clip.label)}, changed {result.clipped_steps}. {norms}"


def _what_to_try(result: Result) -> str:
    if result.summary.outcome != "diverged" and result.explosion is None:
        return ""
    remedies = result.explosion.remedies if result.explosion else []
    if not remedies:
        return "What to try: look at the figures and the telemetry among the artifacts."
    return "What to try: " + "; ".join(map(_remedy, remedies[:3])) + "."


def _remedy(remedy: Remedy) -> str:
    return f"{markdown_cell(remedy.overrides)} ({markdown_cell(remedy.why)})"
