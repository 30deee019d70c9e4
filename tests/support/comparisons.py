"""Comparisons of synthetic runs, without a store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gradclip import keys
from gradclip.compare.data_sets import choose_data
from gradclip.compare.grouping import group_runs
from gradclip.compare.metric import choose_metric
from gradclip.compare.summary import Comparison, compare_with_best, summarize_groups
from gradclip.scores import MSE, Split
from gradclip.tracking.stored_runs import Curve, Selection, StoredRun


def ended_run(score: float, seed: int, typed: str = "", metric: str = "final/mse_test", **parameters: str) -> StoredRun:
    """Return a completed run of clip=norm with a final score; a score of NaN means that it diverged."""
    dotted = {key.replace("__", "."): text for key, text in parameters.items()}
    settings = {"data.name": "regression", "clip.name": "norm", "clip.value": "1.0", "seed": str(seed)} | dotted
    outcome = "learned" if np.isfinite(score) else "diverged"
    label = f"{settings['clip.name']}={settings['clip.value']}"
    command = f"python src/train.py clip=norm {typed} seed={seed}"
    tags = {keys.CLIP: label, keys.OUTCOME: outcome, keys.COMMAND: command}
    metrics = {metric: score, keys.GRAD_CLIP_FRACTION: 0.5}
    return StoredRun(f"{label}-{seed}-{parameters}", "", None, "FINISHED", 1.0, settings, metrics, tags)


def validated(runs: Sequence[StoredRun], scores: Sequence[float]) -> list[StoredRun]:
    """Return the runs with one validation score each."""
    return [
        replace(run, metrics=run.metrics | {MSE.final("validation"): score})
        for run, score in zip(runs, scores, strict=True)
    ]


def by_threshold(scores: dict[str, Sequence[float]], **parameters: str) -> list[StoredRun]:
    """Return runs of several seeds for each threshold."""
    return [
        ended_run(score, seed, f"clip.value={value}", clip__value=value, **parameters)
        for value, group in scores.items()
        for seed, score in enumerate(group)
    ]


def compared(
    runs: Sequence[StoredRun], split: Split | None = None, curves: Mapping[str, Curve] | None = None
) -> Comparison:
    """Compare runs, with the epochs until their curves reach 1."""
    data, selection = choose_data(runs), Selection([*runs], 0, None, "a list")
    grouping, metric = group_runs(data.runs), choose_metric(data.runs, split=split)
    summaries = summarize_groups(grouping.groups, metric, curves or {}, 1.0)
    return Comparison(selection, data, grouping, metric, 1.0, summaries, compare_with_best(summaries))


def shift_seeds(runs: Sequence[StoredRun], by: int) -> list[StoredRun]:
    """Return the runs with all seeds increased."""
    return [replace(run, parameters=run.parameters | {"seed": str(int(run.parameters["seed"]) + by)}) for run in runs]
