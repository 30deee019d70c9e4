"""The command ``advise``: reads a stored run or a log and prints what to try."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gradclip.cli.entry import output_folder
from gradclip.config.error_messages import describe
from gradclip.config.schema import AdviseSettings
from gradclip.config.validation import validate_as
from gradclip.errors import ConfigError, GradclipError, TrackingError
from gradclip.terminal import print_lines
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store

if TYPE_CHECKING:
    from gradclip.diagnosis.evidence import Evidence


def run(config: DictConfig) -> None:
    """Print advice on a stored run or a log, and confirm the advice if requested."""
    folder, settings = output_folder(), validate_as(AdviseSettings, config)
    if settings.log is not None or settings.metric is not None:
        from gradclip.cli.advise_on_log import run_advice_on_log

        run_advice_on_log(settings)
        return
    opened = ask(Store.of(settings.tracking), Operations.check_readable)  # MLflow loads in its own process meanwhile
    from gradclip.advise.choose_run import evidence_to_advise_on
    from gradclip.advise.report import advice_message
    from gradclip.diagnosis.diagnose import diagnose_evidence

    result_of(opened)
    evidence, messages = evidence_to_advise_on(settings.run, settings.tracking)
    for message in messages:
        print(message, file=sys.stderr)
    probe = probe_of(evidence, settings, folder / "probe")
    if settings.output == "json":
        print(diagnose_evidence(evidence, "command", probe).to_json())
        return
    print_lines(advice_message(evidence, probe, settings.batches[0]))
    if settings.confirm:
        from gradclip.cli.confirm import confirm

        confirm(evidence, probe, settings, folder)


def probe_of(evidence: "Evidence", settings: AdviseSettings, folder: Path) -> "Evidence | None":
    """Return the evidence from a probe, with what it tried; None if no probe is needed or none can be trained.

    Args:
        evidence: evidence from the run that is advised on.
        settings: settings of the command.
        folder: folder for the multiruns of the probe.

    Raises:
        ConfigError: the probe was requested but cannot be trained.
    """
    from gradclip.advise.probe import cannot_be_stacked, run_probe

    is_asked_for = settings.probe is True
    if settings.probe is False or not (is_asked_for or evidence.needs_probe):
        return None
    try:
        if result_of(ask(Store.of(settings.tracking), Operations.is_read_only)):
            raise TrackingError("the store is read-only")
        reason = cannot_be_stacked(evidence)
        if reason and not (is_asked_for or evidence.needs_strong_clipping):
            return None  # one short run would measure no more than the run itself
        what = f"is one short run, because stacking is not possible: {reason}" if reason else "tries several settings"
        print(f"The probe {what} (probe=false skips it)", file=sys.stderr)
        return run_probe(evidence, settings.tracking, folder, may_be_long=is_asked_for)
    except GradclipError as error:
        if is_asked_for:
            raise ConfigError(f"probe: got True; {describe(error)}") from error
        print(f"no probe: {describe(error)}", file=sys.stderr)
        return None
