"""The command that advises on a stored run: from its composed config to what is printed."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gradclip import keys
from gradclip.cli.entry import output_folder
from gradclip.config.composition import overrides_of
from gradclip.config.error_messages import describe
from gradclip.config.overrides import merge, train_command
from gradclip.config.schema import AdviseSettings, flatten
from gradclip.config.serialization import from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import validate_as
from gradclip.errors import ConfigError, DataError, GradclipError, TrackingError
from gradclip.formatting import CODE, print_lines, print_tables, printable, to_markdown
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.scratch import scratch_folder

if TYPE_CHECKING:
    from gradclip.advise.arms import Arm
    from gradclip.advise.confirmation import Confirmation
    from gradclip.diagnosis.evidence import Evidence
    from gradclip.tracking.stored_runs import StoredRun

PROBE_EPOCHS = 5
MAX_PASSED_OVER = 10  # runs without evidence, until the newest that has some is given up


def run_advice(config: DictConfig) -> None:
    """Look at a stored run, or at a log, and print what to try; confirm it if that is asked for."""
    folder, settings = output_folder(), validate_as(AdviseSettings, config)
    if settings.log is not None or settings.metric is not None:
        from gradclip.cli.advise_on_log import run_advice_on_log

        run_advice_on_log(settings)
        return
    opened = ask(Store.of(settings.tracking), Operations.check_readable)  # MLflow loads beside the rest
    from gradclip.advise.report import advice_message
    from gradclip.diagnosis.diagnose import diagnose_evidence

    result_of(opened)
    tracking = settings.tracking
    evidence = newest_evidence(tracking) if settings.run is None else read_evidence(tracking, settings.run)
    probe = probe_of(evidence, settings, folder / "probe")
    if settings.output == "json":
        print(diagnose_evidence(evidence, probe, "command").to_json())
        return
    print_lines(advice_message(evidence, probe, settings.batches[0]))
    if settings.confirm:
        confirm(evidence, probe, settings, folder)


def probe_of(evidence: "Evidence", settings: AdviseSettings, folder: Path) -> "Evidence | None":
    """The evidence that a probe measures, with what it has tried; None where none is wanted, or none can be trained.

    Args:
        evidence: of the run that is advised on.
        settings: of the command.
        folder: where the multiruns of the probe are written.

    Raises:
        GradclipError: the probe was asked for, and cannot be trained.
    """
    from gradclip.diagnosis.suggestions import needs_strong_clipping

    if settings.probe is False or (settings.probe == "auto" and not needs_strong_clipping(evidence)):
        return None
    try:
        if result_of(ask(Store.of(settings.tracking), Operations.is_read_only)):
            raise TrackingError("the store is read-only")
        return run_probe(settings.tracking, evidence, folder, is_asked_for=settings.probe is True)
    except GradclipError as error:
        if settings.probe is True:
            raise
        print(f"no probe: {describe(error)}", file=sys.stderr)
        return None


def run_probe(tracking: TrackingSettings, evidence: "Evidence", folder: Path, is_asked_for: bool = True) -> "Evidence":
    """Try what may help, or, where such trainings cannot be stacked, only measure norms in a short run.

    Args:
        tracking: where the trainings are stored.
        evidence: of the run that is advised on.
        folder: where the multiruns are written.
        is_asked_for: whether it may take long.

    Raises:
        GradclipError: it cannot be trained.
    """
    from gradclip.advise.probe import cannot_be_stacked, measure

    if reason := cannot_be_stacked(evidence):
        print(f"The probe is one short run, since these cannot be stacked: {reason}", file=sys.stderr)
        return probe_norms(tracking, evidence, folder)
    print("The probe tries several settings in short trainings (probe=false leaves it out).", file=sys.stderr)
    trials, run_id = measure(evidence, tracking, folder, is_asked_for)
    return replace(read_evidence(tracking, run_id), trials=tuple(trials))


def newest_evidence(tracking: TrackingSettings) -> "Evidence":
    """The evidence from the newest run that has any; what was passed over is reported on standard error.

    Raises:
        TrackingError: there is no run that has ended.
        GradclipError: none of the newest has any evidence; the first reason.
    """
    passed_over: list[GradclipError] = []
    newest = result_of(ask(Store.of(tracking), Operations.newest_runs, MAX_PASSED_OVER))
    for run in of_multirun(newest, Store.of(tracking)):
        try:
            evidence = evidence_of(run, tracking)
        except (ConfigError, DataError, TrackingError) as error:
            passed_over.append(error)
            continue
        for reason in passed_over:
            print(f"passed over: {describe(reason)}", file=sys.stderr)
        return evidence
    raise passed_over[0]


def of_multirun(newest: Sequence["StoredRun"], store: Store) -> list["StoredRun"]:
    """The runs to advise on, the first first: of a multirun that was started last its diverged runs, then its best.

    What the multirun found is reported on standard error.

    Args:
        newest: the runs that were started last, the newest first.
        store: where they are.
    """
    multirun = newest[0].parent
    if multirun is None:
        return list(newest)
    found = result_of(ask(store, Operations.read_run, multirun))
    runs = result_of(ask(store, Operations.select_runs, multirun)).runs or list(newest)
    chosen = sorted(runs, key=_urgency)[:MAX_PASSED_OVER]
    best = f"; best: {found.tags[keys.BEST]}" if keys.BEST in found.tags else ""
    counts = Counter(run.outcome for run in runs)
    ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(f"Multirun {found.name}: {ended}{best}. Advice on its run {chosen[0].name}:", file=sys.stderr)
    return chosen


def _urgency(run: "StoredRun") -> tuple[bool, float]:
    """Sorts diverged runs first, then the best."""
    score = keys.stored_score(run.metrics, run.tags)
    error = score.error(run.metrics[score.final(score.choosing_split(run.metrics))]) if score else math.nan
    return run.outcome != "diverged", error if math.isfinite(error) else math.inf


def read_evidence(tracking: TrackingSettings, run_id: str) -> "Evidence":
    """The evidence from a stored run.

    Raises:
        TrackingError: there is no such run.
        ConfigError: as :func:`evidence_of`.
    """
    return evidence_of(result_of(ask(Store.of(tracking), Operations.read_run, run_id)), tracking)


def evidence_of(run: "StoredRun", tracking: TrackingSettings) -> "Evidence":
    """The evidence from a run; its settings are those of its config, which is checked, where parameters are any text.

    Raises:
        ConfigError: it has no telemetry, or that or its config is damaged or not trusted.
    """
    from gradclip.advise.evidence import gather, read_telemetry

    store, setting = Store.of(tracking), f"run: got {run.run_id!r} ({run.name})"
    with scratch_folder() as scratch:
        names = (keys.TELEMETRY_FILE, keys.CONFIG_FILE)
        files = [result_of(ask(store, Operations.read_file, run.run_id, name, str(scratch))) for name in names]
        for name, file in zip(names, files, strict=True):
            if file is None:
                raise ConfigError(f"{setting}; it has no {name}")
        telemetry, stored = files
        assert telemetry is not None
        assert stored is not None
        digest = run.tags.get(keys.DATA_DIGEST, "")
        config = from_yaml(stored.read_text(errors="surrogateescape"), tracking, setting, digest)
        checked = replace(run, parameters=flatten(config))
        return gather(checked, read_telemetry(telemetry, setting), overrides_of(config))


def probe_norms(tracking: TrackingSettings, evidence: "Evidence", folder: Path) -> "Evidence":
    """Measure norms in a short run, clipped far below those of the run that exploded.

    Args:
        tracking: where the short run is stored.
        evidence: of the run that exploded.
        folder: where the multirun of the short run is written.
    """
    from gradclip.advise.training import train_settings
    from gradclip.diagnosis.suggestions import rounded

    if evidence.norms is None:
        raise ConfigError(
            "probe: got True; the run has no finite gradient, so that no threshold can be set for a probe"
        )
    threshold = rounded(evidence.norms.p50 / 100)
    changes = ["clip=norm", f"clip.value={threshold}", f"trainer.max_epochs={PROBE_EPOCHS}"]
    settings = [merge(evidence.training.command or (), changes)]
    (run_id,) = train_settings(settings, range(1), tracking, folder, keys.PROBE)
    return read_evidence(tracking, run_id)


def confirm(evidence: "Evidence", probe: "Evidence | None", settings: AdviseSettings, folder: Path) -> None:
    """Train the arms over several seeds, compare them, and print which settings to use.

    Args:
        evidence: of the run that is advised on.
        probe: of a probe run; None where there was none.
        settings: of the command.
        folder: where the multiruns and the comparison are written.

    Raises:
        ConfigError: there is nothing to compare the run with.
    """
    from gradclip.advise.arms import ADVISED, arms, control_of_advice
    from gradclip.advise.confirmation import confirm_arms
    from gradclip.advise.report import arms_message
    from gradclip.advise.training import train_arms
    from gradclip.cli.compare import store_comparison
    from gradclip.compare.comparison import compare
    from gradclip.compare.planned import batch_levels
    from gradclip.diagnosis.suggestions import suggest

    tracking, compared, labels = settings.tracking, folder / "comparison", dict[str, str]()
    advice = [remedy for remedy in suggest(probe or evidence, evidence) if remedy.has_one_setting]
    chosen = arms(evidence, advice)
    if len(chosen) < 2:
        raise ConfigError("confirm: got True; no other settings are suggested for such a run")
    levels = batch_levels(settings.batches)
    for (before, after), level in zip(pairwise((0, *settings.batches)), levels, strict=True):
        seeds = range(settings.first_seed + before, settings.first_seed + after)
        more = f"{before} seeds cannot tell the advice from every other arm: up to {after} of each are trained."
        print(more if before else arms_message(chosen, seeds), flush=True)
        labels |= train_arms(chosen, seeds, tracking, folder / f"from_{seeds.start}")
        advised = next((run_id for run_id, name in labels.items() if name == ADVISED and not before), None)
        if advised and (added := control_of_advice(read_evidence(tracking, advised), chosen)):
            print(arms_message(added, seeds), flush=True)
            labels |= train_arms(added, seeds, tracking, folder / "control_of_advice")
            chosen += added
        comparison = compare(Store.of(tracking), list(labels), compared, labels=labels)
        summaries = {one.group.label: one for one in comparison.summaries}
        found = confirm_arms({arm.name: summaries[arm.name] for arm in chosen}, comparison.metric, level)
        if found.is_told:
            break
    sentence = print_confirmation(found, chosen, compared)
    print(f"Files: {compared}\n{store_comparison(Store.of(tracking), comparison, compared)}\n")
    print_lines(sentence)


def print_confirmation(found: "Confirmation", chosen: "Sequence[Arm]", folder: Path) -> str:
    """Print the tables and the verdicts, write them into a folder, and return the sentence to end with.

    Args:
        found: the confirmation.
        chosen: the arms.
        folder: of the comparison.
    """
    from gradclip.advise.recommendation import conclusion
    from gradclip.advise.verdicts import notes, tables, verdicts

    sentence, arm = conclusion(found, chosen)
    sentence = printable(sentence)
    command = f"\n{CODE}{printable(train_command(arm.overrides))}" if arm else ""
    sentences = [*verdicts(found), *notes(found)]
    text = [*map(to_markdown, tables(found)), *sentences, "", f"{sentence}{command}", ""]
    (folder / "confirmation.md").write_text("\n".join(text))
    print_tables(tables(found))
    print_lines(*sentences)
    return sentence + command
