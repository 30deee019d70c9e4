"""Runs in, tables, figures and files out. Read :func:`compare` from top to bottom."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from gradclip import plots
from gradclip.compare.figures import figures
from gradclip.compare.grouping import group_runs
from gradclip.compare.report import Comparison, method, tables, verdicts
from gradclip.compare.summary import Metric, choose_metric, compare_pairs, summarize_groups, usual_target
from gradclip.errors import ConfigError
from gradclip.formatting import to_markdown
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import Curve, StoredRun

FOLDER = "comparison"  # under the artifacts of the run that a comparison is stored with
MARKDOWN, GROUPS, PAIRS = "comparison.md", "groups.csv", "pairs.csv"
BLOCK = 100  # runs whose curves are read at a time
MOST_POINTS = 200  # kept of a curve


def compare(
    store: Store,
    asked: str | Sequence[str] | None,
    folder: Path,
    by: Sequence[str] | None = None,
    metric: str | None = None,
    target: float | None = None,
    draw: bool = True,
    names: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare stored runs, and write tables and figures into a folder.

    Args:
        store: where the runs are.
        asked: which runs, see :func:`gradclip.tracking.backend.queries.select_runs`.
        folder: what to write into; made if need be.
        by: the settings to group by; None means all that differ.
        metric: what to compare by; None means the final score on test examples.
        target: the score whose first epoch is looked for; None means the median of all final scores.
        draw: whether to draw figures too.
        names: of the groups, each by the ids of its runs; None means the settings that tell them apart.

    Raises:
        TrackingError: the store or the runs cannot be read.
        ConfigError: there is nothing to compare, or not by this setting or metric.
    """
    selection = result_of(ask(store, Operations.select_runs, asked))
    if not selection.runs:
        raise ConfigError(f"runs: got {selection.title!r}; no training run that ended is among them")
    grouping = group_runs(selection.runs, by, names)
    chosen = choose_metric(selection.runs, metric)
    runs = [run for group in grouping.groups for run in group.runs]
    curves = read_curves(store, runs, chosen)
    mark = usual_target(grouping.groups, chosen) if target is None else target
    summaries = summarize_groups(grouping.groups, chosen, curves, mark)
    comparison = Comparison(selection, grouping, chosen, mark, summaries, compare_pairs(summaries))
    write(folder, comparison)
    for name, plot in figures(comparison, curves).items() if draw else ():
        plots.draw(folder / "figures" / f"{name}.png", plot)
    return comparison


def read_curves(store: Store, runs: Sequence[StoredRun], metric: Metric) -> dict[str, Curve]:
    """The history of the score in each run that has one, read in blocks."""
    ids = [run.run_id for run in runs] if metric.curve else []
    blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
    found = [ask(store, Operations.read_curves, block, metric.curve, MOST_POINTS) for block in blocks]
    return {run_id: curve for block in found for run_id, curve in result_of(block).items()}


def write(folder: Path, comparison: Comparison) -> None:
    """Write what was found as Markdown, and as CSV for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    told = [f"## {table.title}\n\n{to_markdown(table)}" for table in tables(comparison, every_pair=True)]
    said = "".join(f"- {line}\n" for line in verdicts(comparison))
    (folder / MARKDOWN).write_text("\n".join([*told, said, f"{method()}\n"]))
    group_frame(comparison).to_csv(folder / GROUPS, index=False)
    pair_frame(comparison).to_csv(folder / PAIRS, index=False)


def group_frame(comparison: Comparison) -> pd.DataFrame:
    """One row for each group, numbers as they are; a median that is a diverged run's is empty."""
    metric, rows = comparison.metric, []
    for one in comparison.summaries:
        row: dict[str, object] = {"group": one.group.label, **one.group.values, "runs": len(one.errors)}
        for name, estimate in (("median", one.median), ("interquartile_mean", one.interquartile_mean)):
            low, high = (estimate.low, estimate.high)[:: metric.sign]
            row |= {
                name: metric.value_of(estimate.value),
                f"{name}_low": metric.value_of(low),
                f"{name}_high": metric.value_of(high),
            }
        for outcome, share in one.outcomes.items():
            row |= {outcome: one.count(outcome), f"{outcome}_low": share.low, f"{outcome}_high": share.high}
        row |= {"epochs_to_target": float(pd.Series(one.epochs).median()), "target": comparison.target}
        rows.append(row | {"clip_fraction": one.clip_fraction, "seconds": one.seconds})
    return pd.DataFrame(rows)


def pair_frame(comparison: Comparison) -> pd.DataFrame:
    """One row for each pair."""
    columns = [
        "better",
        "worse",
        "improvement",
        "improvement_low",
        "improvement_high",
        "p_value",
        "told_apart",
        "needed",
    ]
    rows = [
        (pair.better.group.label, pair.worse.group.label, *pair.improvement, pair.p_value, pair.told_apart, pair.needed)
        for pair in comparison.pairs
    ]
    return pd.DataFrame(rows, columns=columns)
