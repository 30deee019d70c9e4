"""Report of a search: a table, the best setting, the command that repeats it, and a figure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gradclip.config.overrides import launcher_of, train_command
from gradclip.formatting import CODE, Table, counted, format_score, to_markdown
from gradclip.sweep.search.trial import Trial, best_trial, caveat_of, in_order, metric_of
from gradclip.terminal import print_lines, print_tables
from gradclip.tracking.files import read_note, write_whole

SEARCH_FOLDER = "search"  # within the folder of the multirun; its files are stored with the parent run
NOTE = "search.json"
TABLE = "search.md"
FIGURE = "figures/search"
MAX_ROWS = 10  # rows on the terminal; the stored table has all


@dataclass(frozen=True)
class Report:
    """A finished search.

    Attributes:
        trials: the settings tried, in order.
        fixed: overrides of every job.
        seeds: seeds of each setting.
        hydra: overrides of Hydra's own settings.
        log_scale: names of the settings that were searched on a logarithmic scale.
    """

    trials: Sequence[Trial]
    fixed: Sequence[str]
    seeds: Sequence[str]
    hydra: Sequence[str]
    log_scale: Sequence[str] = ()

    @property
    def command(self) -> str:
        """The command that repeats the best setting over all seeds; empty if no setting is best."""
        best = best_trial(self.trials)
        if best is None:
            return ""
        seed, many = f"seed={','.join(self.seeds)}", len(self.seeds) > 1
        launcher = launcher_of(self.hydra) if many else []
        return train_command([*launcher, *self.fixed, *best.overrides, seed], multirun=many)


def write_report(folder: Path, report: Report, figure_format: str = "png") -> None:
    """Write the search as JSON, its table as Markdown, and its figure.

    Args:
        folder: folder of the multirun.
        report: the search.
        figure_format: ``png``, ``pdf`` or ``svg``.
    """
    from gradclip.plots.search import plot_search
    from gradclip.plots.style import draw
    from gradclip.sweep.search.figures import settings_of, trials_of

    inner = folder / SEARCH_FOLDER
    inner.mkdir(exist_ok=True)
    write_whole(inner / NOTE, json.dumps(asdict(report), indent=2))
    (inner / TABLE).write_text(to_markdown(search_table(report.trials)) + "\n" + "\n".join(best_lines(report)) + "\n")
    trials, settings = trials_of(report.trials), settings_of(report.trials, report.log_scale)
    draw(inner / f"{FIGURE}.{figure_format}", lambda figure: plot_search(figure, trials, settings))


def read_report(folder: Path) -> Report | None:
    """Read the report of a search; None if the multirun is not a search."""
    note = folder / SEARCH_FOLDER / NOTE
    if not note.exists():
        return None
    return read_note(note, Report)


def print_report(report: Report) -> None:
    """Print the best settings and the failed ones."""
    print_tables([search_table(report.trials, MAX_ROWS)])
    print_lines(*best_lines(report))


def search_table(trials: Sequence[Trial], max_rows: int | None = None) -> Table:
    """Return one row for each setting, the best first; with ``max_rows``, only the best and all failed ones."""
    counts = Counter(trial.state for trial in trials)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    title = f"{counted(len(trials), 'setting')}: {states}"
    shown = [
        trial
        for rank, trial in enumerate(in_order(trials))
        if not max_rows or rank < max_rows or trial.state == "failed"
    ]
    score = f"{metric_of(trials)}, {trials[0].over_seeds}"
    scores = (score,) if max_rows else (score, "lowest", "highest")  # a terminal may be narrow
    on_test = (f"{trials[0].over_seeds} on test",) if any(len(trial.scores) > 1 for trial in trials) else ()
    columns = ("trial", *trials[0].values, "seeds", *scores, *on_test, "outcome", "reason")
    width = len(columns) if counts["failed"] else len(columns) - 1
    rows = []
    for trial in shown:
        values = [*_scores(trial)[: len(scores)], *[_format(trial, trial.average_on("test")) for _ in on_test]]
        reason = next((job.error for job in trial.jobs if job.error), "")
        seeds = f"{len(trial.jobs)} of {trial.seeds}"
        rows.append((str(trial.number), *trial.values.values(), seeds, *values, trial.state, reason)[:width])
    return Table(title, columns[:width], rows)


def _scores(trial: Trial) -> list[str]:
    """Return the score over the seeds, the lowest and the highest."""
    return [_format(trial, score) for score in (trial.average, *trial.range)]


def _format(trial: Trial, score: float) -> str:
    return format_score(trial.measured.name if trial.measured else "", score)


def best_lines(report: Report) -> list[str]:
    """Return the lines on the best setting and how to repeat it."""
    best = best_trial(report.trials)
    if best is None:
        return ["Best: none; no setting has a finite score over all its seeds"]
    score, lowest, highest = _scores(best)
    seeds = f"{best.over_seeds} of {best.seeds} seeds, {lowest} to {highest}" if best.seeds > 1 else "one seed"
    on_test = f", {_format(best, best.average_on('test'))} on the test rows" if len(best.scores) > 1 else ""
    chosen = f"Best: {' '.join(best.overrides)}; {metric_of([best])} {score} ({seeds}){on_test}"
    caveat = caveat_of(report.trials) if len(report.trials) > 1 else []
    return [chosen, *caveat, "Repeat it:", f"{CODE}{report.command}"]
