"""The MLflow page of a multirun: description, metrics and tags of the parent run, with the best settings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradclip import keys
from gradclip.config.identity import data_identity
from gradclip.formatting import Table, chosen_on_test, counted, markdown_cell, markdown_line, to_markdown
from gradclip.scores import score_named, stored_score
from gradclip.sweep.results import JobResult
from gradclip.sweep.search.report import FIGURE, SEARCH_FOLDER, Report, best_lines, search_table
from gradclip.sweep.search.trial import best_trial
from gradclip.tracking.stored_runs import StoredRun
from gradclip.tracking.views import order_tag

if TYPE_CHECKING:
    from gradclip.compare.summary import Comparison

MAX_ROWS = 12  # rows of the table
MAX_LENGTH = 4900  # characters of a tag that older MLflow servers accept
WIDTH = 100  # characters per line of a table with all columns


@dataclass(frozen=True)
class Answer:
    """The result of a multirun.

    Attributes:
        sentences: the conclusions, the most important first.
        table: table of the settings, the best first.
        figure: path of the main figure, within the folder of the multirun; empty if there is none.
        best: the best settings; empty if there are none.
        scores: scores of the best settings by metric, starting with the metric that chose them; may be NaN.
    """

    sentences: Sequence[str]
    table: Table
    figure: str = ""
    best: str = ""
    scores: dict[str, float] = field(default_factory=dict)


class Page(NamedTuple):
    """Metrics and tags that a parent run gets at the end."""

    metrics: dict[str, float]
    tags: dict[str, str]


def answer_of_comparison(found: "Comparison", folder: Path) -> Answer:
    """Return the result of a comparison of the runs."""
    from gradclip.compare.report import short_table, verdicts

    metric, best = found.metric, found.best
    scores = {metric.name: metric.to_value(best.median.value)}
    if best.test_median:
        scores[metric.reported] = metric.to_value(best.test_median.value)
    figures = f"{keys.COMPARISON_FOLDER}/figures"
    figure = _figure(folder, f"{figures}/threshold") or _figure(folder, f"{figures}/{keys.COMPARISON_FIGURE}")
    label = best.group.label if isfinite(scores[metric.name]) else ""
    return Answer(verdicts(found), short_table(found, WIDTH), figure, label, scores)


def _figure(artifacts: Path, name: str) -> str:
    """Return the path of a figure among the artifacts that browsers can show; empty if there is none."""
    found = [path for path in artifacts.glob(f"{name}.*") if path.suffix != ".pdf"]
    return found[0].relative_to(artifacts).as_posix() if found else ""


def answer_of_search(report: Report, folder: Path) -> Answer:
    """Return the result of a search."""
    best = best_trial(report.trials)
    settings = " ".join(best.overrides) if best else ""
    table = search_table(report.trials, MAX_ROWS)
    scores = best.scores if best else {}
    return Answer(best_lines(report), table, _figure(folder / SEARCH_FOLDER, FIGURE), settings, scores)


def answer_of_jobs(jobs: Sequence[JobResult], table: Table) -> Answer:
    """Return the result of jobs that were not compared: a single job, or runs that wait for the store."""
    done = [job for job in jobs if isfinite(job.score_on(job.choosing_split)) and job.outcome != "diverged"]
    kinds = {(job.score, job.choosing_split) for job in done}
    if not kinds:
        return Answer(["No run has a score."], table)
    if len(kinds) > 1:
        return Answer(["No run is best: the runs have different scores, or were scored on different rows."], table)
    ((name, split),) = kinds
    score = score_named(name, done[0].higher_is_better)
    best = min(done, key=lambda job: score.error(job.score_on(split)))
    caveat = [chosen_on_test()] if len(done) > 1 and split == "test" else []
    scores = {score.final(one): best.score_on(one) for one in dict.fromkeys((split, "test")) if one in best.scores}
    return Answer([f"Best run: {best.name}.", *caveat], table, "", best.name, scores)


def page_of(answer: Answer, jobs: Sequence[JobResult], run_id: str, example: StoredRun | None) -> Page:
    """Return the page of a multirun.

    Args:
        answer: the result of the multirun.
        jobs: the results of its jobs.
        run_id: id of the parent run, whose figure the description shows; empty if it is not in the store.
        example: one of its runs, on the data of the result; None if no run is in the store.
    """
    score = stored_score(example.metrics, example.tags) if example else None
    tags = {keys.DESCRIPTION: _description(answer, jobs, run_id), keys.OUTCOME: outcomes(jobs)}
    if answer.best:
        tags[keys.BEST] = answer.best
    if example and score:
        data = data_identity(example.parameters, example.tags.get(keys.DATA_DIGEST, "")) | {"score": score.name}
        error = score.error(next(iter(answer.scores.values()), np.nan))
        tags |= {keys.DATA: example.tags.get(keys.DATA, ""), keys.ORDER: order_tag(data, error, of_multirun=True)}
    scores = answer.scores if score else {}
    return Page({name: value for name, value in scores.items() if isfinite(value)}, tags)


def outcomes(jobs: Sequence[JobResult]) -> str:
    """Return the number of jobs of a multirun with each outcome.

    Example:
        >>> outcomes([JobResult(0, "a", outcome="learned"), JobResult(1, "b", outcome="diverged")])
        '1 learned, 1 diverged'
    """
    counts = Counter(job.outcome for job in jobs)
    known = [one for one in ("learned", "finished", "stalled", "diverged") if one in counts]
    return ", ".join(f"{counts[one]} {one}" for one in [*known, *sorted(counts.keys() - {*known})])


def _description(answer: Answer, jobs: Sequence[JobResult], run_id: str) -> str:
    """Return the result in Markdown, escaped, with as many rows and sentences as fit into a tag."""
    first, *others = answer.sentences
    head = [f"**{markdown_cell(first)}**", f"{counted(len(jobs), 'run')}: {markdown_cell(outcomes(jobs))}."]
    address = f"get-artifact?path={answer.figure}&run_uuid={run_id}"
    figure = [f"![Scores of all runs]({address})"] if answer.figure and run_id else []
    title, rows = markdown_cell(answer.table.title), answer.table.rows[:MAX_ROWS]
    while True:
        table = to_markdown(answer.table._replace(rows=rows))
        parts = [*head, f"{title}:", table, *map(markdown_line, others), *figure]
        text = "\n\n".join(filter(None, parts))
        if len(text) <= MAX_LENGTH or not (rows or others):
            return text
        if len(rows) > 1 or not others:
            rows = rows[:-1]
        else:
            others = others[:-1]
