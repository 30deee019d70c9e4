"""Comparison of stored runs, from the store to the written files. Read :func:`compare` first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gradclip.compare.data_sets import choose_data
from gradclip.compare.figures import figures
from gradclip.compare.grouping import group_runs
from gradclip.compare.metric import Metric, choose_metric
from gradclip.compare.report import methods_note, tables, verdicts
from gradclip.compare.statistics import Estimate
from gradclip.compare.summary import Comparison, compare_with_best, default_target, summarize_groups
from gradclip.errors import ConfigError
from gradclip.formatting import csv_cell, markdown_cell, markdown_line, to_latex, to_markdown
from gradclip.plots.style import draw as draw_figure
from gradclip.scores import Split
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import Curve, StoredRun

MARKDOWN, LATEX, GROUPS, PAIRS = "comparison.md", "comparison.tex", "groups.csv", "pairs.csv"
CURVES_PER_READ = 1000  # runs; SQLite scans this score of all runs on each read
MAX_CURVE_POINTS = 200


def compare(
    store: Store,
    query: str | Sequence[str] | None,
    folder: Path,
    by: Sequence[str] | None = None,
    metric: str | None = None,
    target: float | None = None,
    draw: bool = True,
    labels: Mapping[str, str] | None = None,
    data_set: str | None = None,
    figure_format: str = "png",
    split: Split | None = None,
    typed: Sequence[str] = (),
) -> Comparison:
    """Compare stored runs, and write tables and figures into a folder.

    Args:
        store: the store of the runs.
        query: the runs to compare, see :func:`gradclip.tracking.backend.queries.select_runs`.
        folder: output folder; it is created if needed.
        by: names of the settings to group by; None means all that differ.
        metric: name of the metric to compare by; None means the final score.
        target: value of the score for the epochs to the target; None means the median of all final scores.
        draw: whether to draw figures.
        labels: label of each run's group, by run id; None means labels made from the distinguishing settings.
        data_set: name of the data set whose runs are compared; None means the data set of the newest run.
        figure_format: ``png``, ``pdf`` or ``svg``.
        split: split of the score; None means validation if all runs have a score on it, otherwise test.
        typed: overrides of the command that compares, which may be repeated in commands that it suggests.

    Raises:
        TrackingError: the store or the runs cannot be read.
        ConfigError: no run is selected, or no run has the given data set, setting or metric.
    """
    selection = result_of(ask(store, Operations.select_runs, query))
    if not selection.runs:
        got = selection.title if query is None else query
        raise ConfigError(f"runs: got {got!r}; it selects no finished training run")
    chosen_data = choose_data(selection.runs, data_set)
    grouping = group_runs(chosen_data.runs, by, labels)
    chosen = choose_metric(chosen_data.runs, metric, split)
    curves = read_curves(store, [run for group in grouping.groups for run in group.runs], chosen)
    target = default_target(grouping.groups, chosen) if target is None else target
    summaries = summarize_groups(grouping.groups, chosen, curves, target)
    pairs = compare_with_best(summaries)
    comparison = Comparison(selection, chosen_data, grouping, chosen, target, summaries, pairs, typed)
    write_tables(folder, comparison)
    if draw:
        for name, plot in figures(comparison, curves).items():
            draw_figure(folder / "figures" / f"{name}.{figure_format}", plot)
    return comparison


def read_curves(store: Store, runs: Sequence[StoredRun], metric: Metric) -> dict[str, Curve]:
    """Return the score over epochs of each run that has one, by run id.

    Args:
        store: the store of the runs.
        runs: runs to read.
        metric: metric of the score.
    """
    ids = [run.run_id for run in runs] if metric.curve else []
    batches = [ids[start : start + CURVES_PER_READ] for start in range(0, len(ids), CURVES_PER_READ)]
    reads = [ask(store, Operations.read_curves, batch, metric.curve, MAX_CURVE_POINTS) for batch in batches]
    return {run_id: curve for read in reads for run_id, curve in result_of(read).items()}


def write_tables(folder: Path, comparison: Comparison) -> None:
    """Write a comparison as Markdown, LaTeX and CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    found = tables(comparison)
    sections = [f"## {markdown_cell(table.title)}\n\n{to_markdown(table)}" for table in found]
    sentences = [f"{markdown_line(line)}\n" for line in verdicts(comparison)]
    (folder / MARKDOWN).write_text("\n".join([*sections, *sentences, f"{methods_note(comparison)}\n"]))
    (folder / LATEX).write_text("\n".join(map(to_latex, found)))
    for frame, name in ((group_frame(comparison), GROUPS), (pair_frame(comparison), PAIRS)):
        frame.rename(columns=csv_cell).map(csv_cell).to_csv(folder / name, index=False)


def group_frame(comparison: Comparison) -> pd.DataFrame:
    """Return a data frame with one unrounded row per group; a median that falls on a diverged run is NaN.

    Programs of users read these columns, so their names must not change.
    """
    metric, rows = comparison.metric, []
    for summary in comparison.summaries:
        row: dict[str, object] = {"group": summary.group.label, **summary.group.settings, "runs": len(summary.errors)}
        row |= _columns("median", summary.median, metric)
        row |= _columns("interquartile_mean", summary.interquartile_mean, metric)
        for outcome, share in summary.outcomes.items():
            row |= {outcome: summary.count(outcome), f"{outcome}_low": share.low, f"{outcome}_high": share.high}
        row |= {"epochs_to_target": float(np.median(summary.epochs_to_target)), "target": comparison.target}
        row |= {"clip_fraction": summary.clip_fraction, "seconds": summary.seconds, "metric": metric.name}
        rows.append(row | (_columns("test_median", summary.test_median, metric) if summary.test_median else {}))
    return pd.DataFrame(rows)


def _columns(name: str, estimate: Estimate, metric: Metric) -> dict[str, object]:
    """Return an estimate and the ends of its interval as values of the metric."""
    low, high = map(metric.to_value, metric.in_order(estimate.low, estimate.high))
    return {name: metric.to_value(estimate.value), f"{name}_low": low, f"{name}_high": high}


def pair_frame(comparison: Comparison) -> pd.DataFrame:
    """Return a data frame with one row for each test of the best group against another group.

    Programs of users read these columns, so their names must not change.
    """
    pairs = comparison.pairs
    columns = {
        "better": [pair.better.group.label for pair in pairs],
        "worse": [pair.worse.group.label for pair in pairs],
        "improvement": [pair.improvement.value for pair in pairs],
        "improvement_low": [pair.improvement.low for pair in pairs],
        "improvement_high": [pair.improvement.high for pair in pairs],
        "p_value": [pair.p_value for pair in pairs],
        "significant": [pair.significant for pair in pairs],
        "paired": [pair.paired for pair in pairs],
        "equivalence_p_value": [pair.equivalence for pair in pairs],
    }
    return pd.DataFrame(columns)
