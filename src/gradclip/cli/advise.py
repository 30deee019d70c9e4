"""The command that advises on a stored run: from its composed config to what is printed."""

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
    evidence = evidence_to_advise_on(settings)
    probe = probe_of(evidence, settings, folder / "probe")
    if settings.output == "json":
        print(diagnose_evidence(evidence, probe, "command").to_json())
        return
    print_lines(advice_message(evidence, probe, settings.batches[0]))
    if settings.confirm:
        from gradclip.cli.confirm import confirm

        confirm(evidence, probe, settings, folder)


def evidence_to_advise_on(settings: AdviseSettings) -> "Evidence":
    """The evidence from the run that is named, or else from the newest; how that was found is reported on stderr."""
    from gradclip.advise.evidence import read_evidence
    from gradclip.advise.newest import newest_evidence

    if settings.run is not None:
        return read_evidence(settings.run, settings.tracking)
    evidence, messages = newest_evidence(settings.tracking)
    for message in messages:
        print(message, file=sys.stderr)
    return evidence


def probe_of(evidence: "Evidence", settings: AdviseSettings, folder: Path) -> "Evidence | None":
    """The evidence that a probe measures, with what it has tried; None where none is wanted, or none can be trained.

    Args:
        evidence: of the run that is advised on.
        settings: of the command.
        folder: where the multiruns of the probe are written.

    Raises:
        ConfigError: the probe was asked for, and cannot be trained.
    """
    from gradclip.advise.probe import cannot_be_stacked, run_probe
    from gradclip.diagnosis.suggestions import needs_strong_clipping

    is_asked_for = settings.probe is True
    if settings.probe is False or not (is_asked_for or needs_strong_clipping(evidence)):
        return None
    try:
        if result_of(ask(Store.of(settings.tracking), Operations.is_read_only)):
            raise TrackingError("the store is read-only")
        reason = cannot_be_stacked(evidence)
        what = f"is one short run, since these cannot be stacked: {reason}" if reason else "tries several settings"
        print(f"The probe {what} (probe=false leaves it out)", file=sys.stderr)
        return run_probe(evidence, settings.tracking, folder, may_be_long=is_asked_for)
    except GradclipError as error:
        if is_asked_for:
            raise ConfigError(f"probe: got True; {describe(error)}") from error
        print(f"no probe: {describe(error)}", file=sys.stderr)
        return None
