"""Writes that a server accepted, checked at the end of the run: some servers answer 200 and store nothing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradclip import keys
from gradclip.tracking.backend.connection import Connection
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call

RUN_FILES = (keys.FIGURES_FOLDER, keys.TELEMETRY_FOLDER, keys.EXPLOSION_FOLDER, keys.WEIGHTS_FOLDER)

_accepted: dict[str, list[Call]] = defaultdict(list)  # writes of runs that have not ended, by run


def note_accepted(call: Call) -> None:
    """Remember a write until its run ends; a model is left out, since its files are gone by then."""
    if call.operation != Operations.write_model.__name__:
        _accepted[call.run_id].append(call)


def take_accepted(run_id: str) -> list[Call]:
    """Return all writes of a run that a server accepted, and forget them."""
    return _accepted.pop(run_id, [])


@dataclass
class Content:
    """The part of a run's content that two requests return.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        parameters: the names of its parameters.
        steps: the last step of each metric.
        artifacts: the names of its files and folders.
    """

    status: str = ""
    parameters: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, backend: Connection, run_id: str) -> "Content":
        """Read the content of a run from a server."""
        run = backend.client.get_run(run_id)
        steps = {metric.key: metric.step for metric in run.data._metric_objs}
        artifacts = {Path(entry.path).name for entry in backend.repository_of(run_id).list_artifacts()}
        return cls(run.info.status, set(run.data.params), steps, artifacts)

    @classmethod
    def written_by(cls, calls: Sequence[Call]) -> "Content":
        """Return the content that a run has at least after some writes."""
        content = cls()
        for call in calls:
            match call.operation, call.arguments:
                case "write_points", (points,):
                    for point in points:
                        content.steps[point.key] = max(point.step, content.steps.get(point.key, 0))
                case "write_summary", (metrics, *_):
                    content.steps |= {key: 0 for key in metrics if key not in content.steps}
                case "write_parameters", (parameters,):
                    content.parameters |= parameters.keys()
                case "write_text", (_, name):
                    content.artifacts.add(Path(name).parts[0])
                case "write_run_files", (folder,):
                    content.artifacts |= {name for name in RUN_FILES if Path(folder, name).exists()}
                case "end_run", (status, *_):
                    content.status = status
        return content

    def is_within(self, other: "Content") -> bool:
        """Return whether another content includes all of this one."""
        steps = all(other.steps.get(key, -1) >= step for key, step in self.steps.items())
        names = self.parameters <= other.parameters and self.artifacts <= other.artifacts
        return steps and names and self.status == other.status
