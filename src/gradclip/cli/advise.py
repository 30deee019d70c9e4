"""The command that advises: from its composed config to what is printed."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from gradclip import keys
from gradclip.cli.entry import no_empty_folder
from gradclip.config.schema import AdviseSettings
from gradclip.config.validation import validate_as
from gradclip.errors import ConfigError
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store

if TYPE_CHECKING:
    from gradclip.advise.evidence import Evidence

PROBE_EPOCHS = 5


def run_advice(config: DictConfig) -> None:
    """Look at a run as the config says, and tell what to try; confirm it if that is asked for."""
    with no_empty_folder() as folder:
        settings = validate_as(AdviseSettings, config)
        store = Store.of(settings.tracking)
        opened = ask(store, Operations.check_readable)  # MLflow loads beside the rest
        from gradclip.advise.report import advice_message

        result_of(opened)
        evidence = read_evidence(store, settings.run)
        probe = probe_norms(store, evidence, folder / "probe") if settings.probe and evidence.exploded else None
        print(advice_message(evidence, probe, settings.seeds))
        if settings.confirm:
            confirm(store, evidence, probe, settings, folder)


def read_evidence(store: Store, run_id: str | None) -> "Evidence":
    """What a stored run tells; the newest, if none is named.

    Raises:
        TrackingError: there is no such run.
        ConfigError: it has no telemetry.
    """
    import pandas as pd

    from gradclip.advise.evidence import gather

    newest, read = Operations.newest_run, Operations.read_run
    run = result_of(ask(store, newest) if run_id is None else ask(store, read, run_id))
    with tempfile.TemporaryDirectory() as scratch:
        path = result_of(ask(store, Operations.read_file, run.run_id, keys.TELEMETRY_FILE, scratch))
        if path is None:
            raise ConfigError(f"run: got {run.run_id!r} ({run.name}); it has no {keys.TELEMETRY_FILE}")
        return gather(run, pd.read_parquet(path))


def probe_norms(store: Store, evidence: "Evidence", folder: Path) -> "Evidence":
    """Measure norms in a short run, clipped far below those of the run that ran away."""
    from gradclip.advise.overrides import base_overrides, merge
    from gradclip.advise.suggestions import rounded
    from gradclip.advise.training import run_many

    if evidence.norms is None:
        raise ConfigError(
            "probe: got True; the run has no finite gradient, so that no threshold can be set for a probe"
        )
    threshold = rounded(evidence.norms.p50 / 100)
    changes = ["clip=norm", f"clip.value={threshold}", f"trainer.max_epochs={PROBE_EPOCHS}"]
    (run_id,) = run_many(merge(base_overrides(evidence.run), changes), range(1), store, folder)
    return read_evidence(store, run_id)


def confirm(
    store: Store, evidence: "Evidence", probe: "Evidence | None", settings: AdviseSettings, folder: Path
) -> None:
    """Train the arms over several seeds, compare them, and say whether the advice held."""
    from gradclip.advise.confirmation import ADVISED, arms, control_of_advice, verdicts
    from gradclip.advise.report import arm_message
    from gradclip.advise.suggestions import suggest
    from gradclip.advise.training import run_many
    from gradclip.cli.compare import print_comparison, store_comparison
    from gradclip.compare.comparison import compare

    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    names: dict[str, str] = {}
    chosen = arms(evidence, suggest(probe or evidence, evidence))
    for number, arm in enumerate(chosen):
        print(arm_message(arm, seeds), flush=True)
        run_ids = run_many(arm.overrides, seeds, store, folder / str(number))
        names |= dict.fromkeys(run_ids, arm.name)
        if arm.name == ADVISED:  # whose steps tell one more
            chosen += control_of_advice(read_evidence(store, run_ids[0]), chosen)
    found = compare(store, list(names), folder / "comparison", labels=names)
    print_comparison(found, folder / "comparison", store_comparison(store, found, folder / "comparison"))
    summaries = {one.group.label: one for one in found.summaries}
    in_order = {name: summaries[name] for name in dict.fromkeys(names.values())}
    print("\n" + "\n".join(verdicts(in_order, found.metric)))
