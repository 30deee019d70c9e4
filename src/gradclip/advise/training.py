"""Run the ordinary command from here: probes, and arms over several seeds."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gradclip.advise.overrides import seed_override
from gradclip.config.paths import PROJECT_ROOT
from gradclip.errors import TrackingError, TrainerError
from gradclip.formatting import unsent_message
from gradclip.tracking.records import RUN_FILE, Store
from gradclip.tracking.sync import unsent_below


def run_many(overrides: Sequence[str], seeds: range, store: Store, folder: Path) -> list[str]:
    """Train with some overrides over several seeds, stacked, as a multirun of the ordinary command.

    Args:
        overrides: what to train.
        seeds: one run for each.
        store: where the runs are tracked.
        folder: where they write; a multirun's own.

    Returns:
        The ids of the runs.

    Raises:
        TrainerError: a run failed.
        TrackingError: some of it waits for the store.
    """
    place = [
        f"tracking.uri={store.uri}",
        f"tracking.artifacts={store.artifacts}",
        f"tracking.experiment={store.experiment}",
        f"hydra.sweep.dir={folder}",
    ]
    command = [sys.executable, str(PROJECT_ROOT / "src/train.py"), "-m", *overrides, *seed_override(seeds)]
    quietly = ["hydra/launcher=vectorized", "figures=false", "log_model=false", *place]
    done = subprocess.run([*command, *quietly], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        raise TrainerError(f"the command {' '.join(overrides)} failed: {reason}")
    if unsent := unsent_below(folder):
        raise TrackingError(unsent_message(unsent, folder))
    notes = sorted(folder.glob(f"*/{RUN_FILE}"), key=lambda path: int(path.parent.name))
    return [json.loads(note.read_text())["run_id"] for note in notes]
