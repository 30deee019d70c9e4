"""Choice of the run to advise on: the named run or else the newest one; of a multirun, one of its runs."""

from collections import Counter
from collections.abc import Sequence
from math import inf, isfinite, nan

from gradclip import keys
from gradclip.advise.evidence import evidence_of
from gradclip.config.error_messages import describe
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.evidence import Evidence
from gradclip.errors import ConfigError, DataError, GradclipError, TrackingError
from gradclip.scores import stored_score
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import StoredRun

MAX_SKIPPED = 10  # runs to try before giving up


def evidence_to_advise_on(run_id: str | None, tracking: TrackingSettings) -> tuple[Evidence, list[str]]:
    """Return the evidence from a run, and messages on how this run was chosen.

    Args:
        run_id: id of the run, or of a multirun, one of whose runs is chosen; None chooses among the newest runs.
        tracking: the store.

    Raises:
        TrackingError: the run does not exist, or no run has ended.
        GradclipError: none of the runs to choose from has evidence; this is the error of the first one.
    """
    store = Store.of(tracking)
    if run_id is None:
        runs, messages = runs_to_advise_on(result_of(ask(store, Operations.read_newest_runs, MAX_SKIPPED)), store)
    else:
        named = result_of(ask(store, Operations.read_run, run_id))
        runs, messages = ([], []) if named.parameters else _runs_of_multirun(named, store)
        runs = runs or [named]
    skipped: list[GradclipError] = []
    for run in runs:
        try:
            evidence = evidence_of(run, tracking)
        except (ConfigError, DataError, TrackingError) as error:
            skipped.append(error)
        else:
            other = [f"Advice on run {run.name} instead:"] if skipped else []
            return evidence, [*messages, *(f"skipped: {describe(one)}" for one in skipped), *other]
    raise skipped[0]


def runs_to_advise_on(newest: Sequence[StoredRun], store: Store) -> tuple[Sequence[StoredRun], list[str]]:
    """Return the runs to advise on, in the order to try them, and messages on their multirun.

    If the newest run (the first) belongs to a multirun, its diverged runs come first, then its other runs, best first.
    """
    multirun = newest[0].parent
    if multirun is None:
        return newest, []
    runs, messages = _runs_of_multirun(result_of(ask(store, Operations.read_run, multirun)), store)
    return runs or newest, messages


def _runs_of_multirun(parent: StoredRun, store: Store) -> tuple[Sequence[StoredRun], list[str]]:
    """Return the runs of a multirun, the most urgent first, and a message on them; nothing if it has none."""
    runs = result_of(ask(store, Operations.select_runs, parent.run_id)).runs
    if not runs:
        return [], []
    urgent = sorted(runs, key=_urgency)[:MAX_SKIPPED]
    best = f"; best: {parent.tags[keys.BEST]}" if keys.BEST in parent.tags else ""
    counts = Counter(run.outcome for run in runs)
    ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return urgent, [f"Multirun {parent.name}: {ended}{best}. Advice on run {urgent[0].name}:"]


def _urgency(run: StoredRun) -> tuple[bool, float]:
    """Return a sort key that puts diverged runs first, then the best runs."""
    score = stored_score(run.metrics, run.tags)
    error = score.error(run.metrics[score.final(score.choosing_split(run.metrics))]) if score else nan
    return run.outcome != "diverged", error if isfinite(error) else inf
