"""Run the ordinary command from here: probes, and arms over several seeds."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradclip.advise.overrides import seed_override
from gradclip.errors import TrainerError
from gradclip.project import PROJECT_ROOT
from gradclip.sweep.results import FILE
from gradclip.tracking.messages import Store


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
    return [note["run_id"] for note in _notes(folder)]


def _notes(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.glob(f"*/{FILE}"), key=lambda path: int(path.parent.name)):
        yield json.loads(path.read_text())
