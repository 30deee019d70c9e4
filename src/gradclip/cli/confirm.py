"""Confirmation of advice: trains the arms over batches of seeds until a verdict is reached, and prints it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from gradclip.advise.arms import ADVISED, Arm, arms, control_of_advice
from gradclip.advise.confirmation import Confirmation, confirm_arms
from gradclip.advise.evidence import read_evidence
from gradclip.advise.recommendation import conclusion
from gradclip.advise.report import arms_message
from gradclip.advise.training import train_arms
from gradclip.advise.verdicts import notes, tables, verdicts
from gradclip.cli.compare import store_comparison
from gradclip.compare.comparison import compare
from gradclip.compare.planned import batch_levels
from gradclip.config.overrides import train_command
from gradclip.config.schema import AdviseSettings
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.suggestions import suggest
from gradclip.errors import ConfigError
from gradclip.formatting import CODE, printable, to_markdown
from gradclip.terminal import print_lines, print_tables
from gradclip.tracking.records import Store


def confirm(evidence: Evidence, probe: Evidence | None, settings: AdviseSettings, folder: Path) -> None:
    """Train the arms over several seeds, compare them, and print which settings to use.

    Args:
        evidence: evidence from the run that is advised on.
        probe: evidence from a probe; None if there was no probe.
        settings: settings of the command.
        folder: folder for the multiruns and the comparison.

    Raises:
        ConfigError: there are no other settings to compare the run with.
    """
    advice = [remedy for remedy in suggest(probe or evidence, evidence) if remedy.has_one_setting]
    compared, tracking, store = folder / "comparison", settings.tracking, Store.of(settings.tracking)
    planned, arm_of_run = arms(evidence, advice), dict[str, str]()
    if len(planned) < 2:
        raise ConfigError("confirm: got True; the advice suggests no other settings for this run")
    for (before, after), level in zip(pairwise((0, *settings.batches)), batch_levels(settings.batches), strict=True):
        seeds = range(settings.first_seed + before, settings.first_seed + after)
        more = f"{before} seeds do not separate the advice from every other arm; training up to {after} seeds of each."
        first = f"Training these arms over {len(seeds)} seeds each:\n{arms_message(planned, seeds)}"
        print(more if before else first, flush=True)
        arm_of_run |= train_arms(planned, seeds, tracking, folder / f"from_{seeds.start}")
        if not before and (added := _control_of_advice(arm_of_run, planned, tracking)):
            print(arms_message(added, seeds), flush=True)
            arm_of_run |= train_arms(added, seeds, tracking, folder / "control_of_advice")
            planned += added
        comparison = compare(store, list(arm_of_run), compared, labels=arm_of_run)
        summaries = {one.group.label: one for one in comparison.summaries}
        found = confirm_arms({arm.name: summaries[arm.name] for arm in planned}, comparison.metric, level)
        if found.is_decided:
            break
    sentence = _print_confirmation(found, planned, compared)
    print(f"Files: {compared}")
    print(f"{store_comparison(store, comparison, compared)}\n")  # it fails if the store refuses a file
    print_lines(sentence)


def _control_of_advice(arm_of_run: Mapping[str, str], planned: Sequence[Arm], tracking: TrackingSettings) -> list[Arm]:
    """Return the control arm of the advice, if any; its learning rate follows from the steps of an advised run."""
    advised = next((run_id for run_id, name in arm_of_run.items() if name == ADVISED), None)
    return control_of_advice(read_evidence(advised, tracking), planned) if advised else []


def _print_confirmation(found: Confirmation, planned: Sequence[Arm], folder: Path) -> str:
    """Print the tables and verdicts, write them to the folder of the comparison, and return the closing sentence."""
    sentence, arm = conclusion(found, planned)
    command = f"\n{CODE}{printable(train_command(arm.overrides))}" if arm else ""
    last, sentences = f"{printable(sentence)}{command}", [*verdicts(found), *notes(found)]
    (folder / "confirmation.md").write_text("\n".join([*map(to_markdown, tables(found)), *sentences, "", last, ""]))
    print_tables(tables(found))
    print_lines(*sentences)
    return last
