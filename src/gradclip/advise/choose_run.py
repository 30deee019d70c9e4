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


def evidence_of_named(run_id: str, tracking: TrackingSettings) -> tuple[Evidence, list[str]]:
    """Return the evidence from a run, or from a run of a multirun whose id is given, and messages on the choice.

    Raises:
        TrackingError: the run does not exist.
        GradclipError: neither it nor one of its runs has evidence.
    """
    named = result_of(ask(Store.of(tracking), Operations.read_run, run_id))
    runs, messages = ([], []) if named.parameters else _runs_of_multirun(named, Store.of(tracking))
    return _first_evidence(runs or [named], messages, tracking)


def newest_evidence(tracking: TrackingSettings) -> tuple[Evidence, list[str]]:
    """Return the evidence from the newest run that has any, and messages on how this run was found.

    Raises:
        TrackingError: no run has ended.
        GradclipError: none of the newest runs has evidence; this is the error of the first one.
    """
    newest = result_of(ask(Store.of(tracking), Operations.newest_runs, MAX_SKIPPED))
    return _first_evidence(*runs_to_advise_on(newest, Store.of(tracking)), tracking)


def _first_evidence(
    runs: Sequence[StoredRun], messages: Sequence[str], tracking: TrackingSettings
) -> tuple[Evidence, list[str]]:
    """Return the evidence from the first run that has any, and the messages with the errors of the skipped runs."""
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
