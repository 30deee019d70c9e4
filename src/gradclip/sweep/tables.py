"""Tables of the jobs of a multirun, and of the runs that solved their problem."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from gradclip import keys
from gradclip.formatting import Table, counted, format_score
from gradclip.scores import SCORES, SPLITS, Split
from gradclip.sweep.multirun import TABLES_FILE
from gradclip.sweep.results import JobResult

SCORE_TITLES = {"mse": "MSE", "accuracy": "accuracy"}


def run_table(jobs: Sequence[JobResult], max_rows: int | None = None) -> Table:
    """Return one row for each job, or for failed jobs and the first of the others; reasons only if a job failed.

    The title has the words that all names share.
    """
    splits = [split for split in SPLITS if any(split in job.scores for job in jobs)]
    columns = ("job", "run", "outcome", *_score_titles({job.score for job in jobs if job.score}, splits))
    columns += ("clipped", "reason") if any(job.error for job in jobs) else ("clipped",)
    listed = sorted(sorted(jobs, key=lambda job: not job.error)[:max_rows], key=lambda job: job.number)
    some = "" if len(listed) == len(jobs) else f", {len(listed)} of them shown, all in {TABLES_FILE}"
    shared = _shared_settings(jobs)
    rows = [_run_row(job, splits, shared)[: len(columns)] for job in listed]
    settings = f" with {' '.join(shared)}" if shared else ""
    return Table(f"{counted(len(jobs), 'run')}{settings}{some}", columns, rows)


def _shared_settings(jobs: Sequence[JobResult]) -> list[str]:
    """Return the settings that the names of several jobs share, except the first word, which is the clipping."""
    names = [_words(job.name)[1:] for job in jobs]
    return [word for word in names[0] if all(word in name for name in names)] if len(names) > 1 else []


def _words(name: str) -> list[str]:
    """Return the words before the settings in a name, and each setting, whose value may have spaces."""
    words, *settings = re.split(r" (?=[\w.]+=)", name)
    return [*words.split(" "), *settings]


def _without(shared: Sequence[str], name: str) -> str:
    first, *others = _words(name)
    return " ".join([first, *(word for word in others if word not in shared)])


def _score_titles(scores: Collection[str], splits: Sequence[Split]) -> tuple[str, ...]:
    """Return the titles of the score columns, one for each split."""
    score = next(iter(scores)) if len(scores) == 1 else "score"
    if score in SCORES or score == "score":
        return tuple(f"{split} {SCORE_TITLES.get(score, score)}" for split in splits)
    return tuple(keys.LOSS_TRAIN if split == "train" else score for split in splits)


def _run_row(job: JobResult, splits: Sequence[Split], shared: Sequence[str]) -> tuple[str, ...]:
    return (
        str(job.number),
        _without(shared, job.name) + job.title.removeprefix(job.name),
        job.outcome,
        *(format_score(job.score, job.scores[split]) if split in job.scores else "" for split in splits),
        f"{job.clip_fraction:.0%}" if job.clip_fraction == job.clip_fraction else "",
        job.error,
    )


def success_tables(jobs: Sequence[JobResult]) -> list[Table]:
    """Return a table of the runs that solved the problem, by setting; none unless a setting ran over several seeds.

    Only data sets that define when a problem is solved are counted.
    """
    solved: dict[str, list[bool]] = defaultdict(list)
    for job in jobs:
        if job.solved is not None:
            solved[re.sub(r" seed=\d+$", "", job.name)].append(job.solved)
    if all(len(runs) == 1 for runs in solved.values()):
        return []
    from gradclip.compare.statistics import proportion

    rows: list[tuple[str, ...]] = []
    shared = _shared_settings(jobs)
    for name, runs in solved.items():
        rate = proportion(sum(runs), len(runs))
        rows.append((_without(shared, name), f"{sum(runs)} of {len(runs)}", f"{rate.low:.0%} to {rate.high:.0%}"))
    return [Table("Solved", ("group", "solved", "95% interval"), rows)]
