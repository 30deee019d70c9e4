"""A job: one training run, from its settings to the folder of its files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gradclip.config.overrides import run_name, train_command
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import to_yaml
from gradclip.tracking.records import CHECKPOINT_FILE, Parent, StoppedRun

STOP_FILE = "stop"  # in the folder of a multirun, with the number of the signal that stops it


@dataclass(frozen=True)
class Job:
    """A training run to start: its settings, its folder and its place in a multirun.

    Attributes:
        config: all settings.
        overrides: the overrides as typed, without Hydra's own.
        folder: folder for the run's files.
        number: index of the job in its multirun, counted from 0.
        parent: the parent run of its multirun; None for a single run.
        resumed: the run that the job resumes; None starts a new run.
        is_main: whether this process tracks and draws; in distributed training, only the first does.
    """

    config: TrainConfig
    overrides: tuple[str, ...]
    folder: Path
    number: int = 0
    parent: Parent | None = None
    resumed: StoppedRun | None = None
    is_main: bool = True

    @property
    def name(self) -> str:
        """The run's name."""
        return self.resumed.name if self.resumed else run_name(self.config, self.overrides)

    @cached_property
    def config_text(self) -> str:
        """The settings as stored with the run, as YAML."""
        return to_yaml(self.config)

    @property
    def command(self) -> str:
        """The command line of this job alone."""
        return train_command(self.overrides)

    @property
    def stop_file(self) -> Path | None:
        """The file that requests the multirun to stop; None for a single run."""
        return Path(self.parent.folder, STOP_FILE) if self.parent else None

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint from which a resumed run continues; None if it starts from the beginning."""
        path = self.folder / CHECKPOINT_FILE
        return path if self.resumed is not None and path.exists() else None
