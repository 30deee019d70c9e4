"""Writes to a store through MLflow's public calls."""

import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import mlflow
import requests
from filelock import FileLock
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.validation import (
    MAX_DATASET_NAME_SIZE,
    MAX_DATASET_SCHEMA_SIZE,
    MAX_PARAM_VAL_LENGTH,
    MAX_TAG_VAL_LENGTH,
)

from gradclip import __version__, keys
from gradclip.errors import TrackingError
from gradclip.formatting import printable, shortened
from gradclip.tracking import MAX_RETRIES
from gradclip.tracking.backend.accepted import RUN_FILES
from gradclip.tracking.backend.connection import RUN_ID, Connection
from gradclip.tracking.backend.failures import is_refusal
from gradclip.tracking.files import read_note, replace, whole_file, write_note
from gradclip.tracking.records import (
    CHECKPOINT_FILE,
    PARENT_FILE,
    Dataset,
    DatasetDescription,
    Parent,
    ParentNote,
    Point,
)
from gradclip.tracking.scratch import scratch_folder

log = logging.getLogger(__name__)
MAX_METRICS = 1000  # metrics that MLflow accepts in one call
MAX_PARAMETERS = 100
MAX_NAME = 250  # characters of a run's name in a database; MLflow does not check them
CONTEXT_TAG = "mlflow.data.context"


class Writes(Connection):
    """Writes to runs; see :class:`gradclip.tracking.operations.Operations`."""

    def create_run(
        self, name: str, tags: Mapping[str, str], parent: Parent | None, start: int | None, repeated: bool = False
    ) -> str:
        """Create a run, under its parent if it has one."""
        experiment_id = self.experiment_id
        if repeated and (earlier := self.runs_created_as(tags.get(keys.CREATION))):
            return str(earlier[0].info.run_id)  # an earlier attempt succeeded, but its answer was lost
        under = {keys.PARENT_RUN: self._parent_id(parent)} if parent else {}
        with _without_retries():
            every_tag = shortened_values({**context_tags(), **under, **tags}, MAX_TAG_VAL_LENGTH)
            run = self.client.create_run(experiment_id, start, every_tag, shortened(name, MAX_NAME))
        self.locations[run.info.run_id] = run.info.artifact_uri
        return str(run.info.run_id)

    def runs_created_as(self, creation: str | None) -> list[Run]:
        """Return the runs with a creation tag: several if a server's answer was lost and the request repeated."""
        if not RUN_ID.fullmatch(creation or ""):  # not one of ours, so unsafe in a filter
            return []
        return list(self.client.search_runs([self.experiment_id], f"tags.{keys.CREATION} = '{creation}'"))

    def _parent_id(self, parent: Parent) -> str:
        """Return the id of the parent run of a multirun, which the first job creates.

        Raises:
            TrackingError: it is in another store or experiment.
        """
        note = Path(parent.folder, PARENT_FILE)
        with FileLock(f"{note}.lock"):
            if not note.exists():
                run_id = self.create_run(parent.name, parent.tags, None, None, repeated=True)
                write_note(note, {"run_id": run_id, "store": self.store._asdict()})
            parent_id, store = read_note(note, ParentNote)
        got, first = ((one.uri, one.experiment) for one in (self.store, store))
        if got != first:
            where = f"got {got[0]!r} with experiment {got[1]!r}; the first job of this multirun is in {first[0]!r}"
            raise TrackingError(f"tracking.uri: {where}, {first[1]!r}; all jobs need the same store and experiment")
        return parent_id

    def write_parameters(self, run_id: str, parameters: Mapping[str, str]) -> None:
        """Log the settings of a run, as many at a time as MLflow accepts."""
        params = [Param(key, value) for key, value in shortened_values(parameters, MAX_PARAM_VAL_LENGTH).items()]
        for start in range(0, len(params), MAX_PARAMETERS):
            self.client.log_batch(run_id, params=params[start : start + MAX_PARAMETERS])

    def write_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log metrics, as many at a time as MLflow accepts."""
        for start in range(0, len(points), MAX_METRICS):
            self.client.log_batch(run_id, metrics=[Metric(*point) for point in points[start : start + MAX_METRICS]])

    def write_summary(self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], timestamp: int) -> None:
        """Log final metrics and tags."""
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, timestamp, 0) for key, value in metrics.items()],
            tags=[RunTag(key, value) for key, value in shortened_values(tags, MAX_TAG_VAL_LENGTH).items()],
        )

    def describe_datasets(self, datasets: Sequence[Dataset]) -> list[DatasetDescription]:
        """Describe data sets as MLflow does."""
        return [_describe(data) for data in datasets]

    def write_datasets(self, run_id: str, datasets: Sequence[DatasetDescription]) -> None:
        """Log the data sets that a run reads."""
        inputs = [
            DatasetInput(DatasetEntity(*description[:-1]), [InputTag(CONTEXT_TAG, description.context)])
            for description in datasets
        ]
        self.client.log_inputs(run_id, datasets=inputs)

    def write_files(self, run_id: str, folder: str, artifact_folder: str | None = None) -> None:
        """Store the content of a folder as artifacts; symbolic links are skipped."""
        found = Path(folder)
        if found.is_symlink():
            _report_link(found)
        else:
            self._write_files(run_id, found, _files_below(found), artifact_folder)

    def write_run_files(self, run_id: str, folder: str) -> None:
        """Store figures, telemetry, explosion report and weights in a run's folder as artifacts."""
        self._write_files(run_id, Path(folder), _files_below(Path(folder), RUN_FILES))

    def write_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as an artifact."""
        if (target := self._local_target(run_id, Path(name))) is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target, lasting=False) as path:
                path.write_text(text)
            return
        with scratch_folder() as scratch:
            path = scratch / Path(name).name
            path.write_text(text)
            self._write_file(run_id, path, Path(name))

    def _write_files(self, run_id: str, folder: Path, paths: Iterable[Path], under: str | None = None) -> None:
        """Store files of a folder under their paths within the folder.

        A file that the server refuses, for instance because it is too large, does not block the others.

        Raises:
            requests.HTTPError: the server refused a file.
        """
        refused: requests.HTTPError | None = None
        for path in paths:
            try:
                self._write_file(run_id, path, Path(under or "", path.relative_to(folder)))
            except requests.HTTPError as error:
                if not is_refusal(error):
                    raise
                refused = refused or error
        if refused is not None:
            raise refused

    def _write_file(self, run_id: str, path: Path, name: Path) -> None:
        """Store a file as the artifact ``name``, a path that ends with the file's name."""
        if (target := self._local_target(run_id, name)) is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target, lasting=False) as temporary:
                shutil.copyfile(path, temporary)
        else:
            folder = None if name.parent == Path() else name.parent.as_posix()
            self.repository_of(run_id).log_artifact(str(path), folder)

    def _local_target(self, run_id: str, name: Path) -> Path | None:
        """Return where to write an artifact without MLflow, whose path checks take longer than the copy.

        Returns:
            A local path that cannot lead out of the run's artifacts; None if there is no such path.
        """
        root = self.local_artifacts_of(run_id)
        if root is None or name.is_absolute() or ".." in name.parts:
            return None
        return None if any((root / folder).is_symlink() for folder in name.parents) else root / name

    def keep_checkpoint(self, run_id: str, path: str) -> None:
        """Set the checkpoint from which the run resumes; if it is missing, an earlier attempt has done so."""
        with suppress(FileNotFoundError):
            replace(Path(path), Path(path).with_name(Path(CHECKPOINT_FILE).name))

    def start_system_metrics(self, run_id: str) -> None:
        """Record CPU, memory and disk use of this machine, until the store fails once."""
        mlflow.set_tracking_uri(self.uri)
        self._monitors[run_id] = SystemMetricsMonitor(run_id, sampling_interval=1, resume_logging=True)
        self._monitors[run_id].start()

    def end_run(self, run_id: str, status: str, end: int | None = None) -> None:
        """Set a run to FINISHED, FAILED or KILLED."""
        if run_id in self._monitors:
            self._monitors.pop(run_id).finish()
        if self.is_server:
            self._delete_duplicates(run_id)
        self.client.set_terminated(run_id, status, end)

    def _delete_duplicates(self, run_id: str) -> None:
        """Delete empty duplicates of a run, which a server created when its answers were lost."""
        creation = self.client.get_run(run_id).data.tags.get(keys.CREATION)
        for run in self.runs_created_as(creation):
            if run.info.run_id != run_id and is_empty(run):  # anyone may have given another run the same tag
                self.client.delete_run(run.info.run_id)


def is_empty(run: Run) -> bool:
    """Return whether nothing was written to a run after its creation."""
    return not (run.data.params or run.data.metrics)


def _files_below(folder: Path, names: Collection[str] | None = None) -> Iterator[Path]:
    """Yield the files in a folder and below it, in order; none if the folder does not exist.

    Symbolic links are skipped, since they could lead to any file of this user. With ``names``, only these files and
    folders are included.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if names is not None and entry.name not in names:
            continue
        if entry.is_symlink():
            _report_link(Path(entry.path))
        elif entry.is_dir():
            yield from _files_below(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _report_link(path: Path) -> None:
    log.error(f"{printable(str(path))}: is a symbolic link and is not stored")


def shortened_values(texts: Mapping[str, str], length: int) -> dict[str, str]:
    """Shorten texts to the length that a store accepts: it would refuse longer ones at every attempt."""
    return {name: shortened(text, length) for name, text in texts.items()}


@cache
def context_tags() -> dict[str, str]:
    """Return the tags of this process: MLflow's (user, script, commit), which take milliseconds, and our version."""
    return {**resolve_tags(), keys.VERSION: __version__}


@contextmanager
def _without_retries() -> Iterator[None]:
    """Turn off MLflow's own retries: they would create a run twice if the first answer is lost."""
    retries, os.environ[MAX_RETRIES] = os.environ[MAX_RETRIES], "0"
    try:
        yield
    finally:
        os.environ[MAX_RETRIES] = retries


def _describe(data: Dataset) -> DatasetDescription:
    if data.frame is None:
        described = MetaDataset(resolve_dataset_source(data.source), name=data.name)
    else:
        described = from_pandas(data.frame, source=data.source, targets=data.target, name=data.name)
    entity = described._to_mlflow_entity()
    schema = entity.schema if len(entity.schema or "") <= MAX_DATASET_SCHEMA_SIZE else None  # it may be of any length
    return DatasetDescription(
        shortened(entity.name, MAX_DATASET_NAME_SIZE),
        entity.digest,
        entity.source_type,
        entity.source,
        schema,
        entity.profile,
        data.context,
    )
