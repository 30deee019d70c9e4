"""Connection to a store, checked before training: the store answers, is writable and has the experiment."""

import logging
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.credentials import read_mlflow_creds
from mlflow.utils.file_utils import local_file_uri_to_path

from gradclip.errors import AbsentStoreError, TrackingError, first_line
from gradclip.tracking.backend.database import (
    STORE_ERRORS,
    analyze,
    check_database,
    check_writable,
    create_sqlite,
    is_file,
    is_read_only,
    sqlite_file,
)
from gradclip.tracking.backend.deadline import within
from gradclip.tracking.backend.retry_budget import RetryBudget
from gradclip.tracking.records import Call, Store, now
from gradclip.tracking.views import view_tags

RUN_ID = re.compile(r"[0-9a-f]{32}")  # also the form of our creation tags
NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # errors for an absent id, and for what is no id
PAGE = 100  # runs read at a time; MLflow's objects of a run take a hundred times the memory of a StoredRun
MAX_LOCATION = 157  # characters; the path of a run's artifacts must fit in MLflow's column of 200
MAX_FILE = 500 * 1024**2  # bytes of a file that is read back; one of any size could fill the disk
SERVER_TIMEOUT = 5.0  # seconds to wait for a server's first answer
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}  # model training, for the MLflow UI

for name in ("mlflow", "alembic", "sqlalchemy"):
    logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
warnings.filterwarnings("ignore", module="mlflow")


class Connection:
    """The connection to one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.uri = store.uri
        self.is_server = store.uri.startswith("http")
        self.locations: dict[str, str] = {}  # of artifacts, by run id, so that the store is asked once
        self.budget = RetryBudget(store.retry_seconds)  # shared by all writes
        self.accepted: dict[str, list[Call]] = defaultdict(list)  # writes of runs that have not ended, by run id
        self._monitors: dict[str, SystemMetricsMonitor] = {}

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client; a missing database is created first, under a lock, since MLflow does not lock."""
        if (database := sqlite_file(self.uri)) and not Path(database).exists():
            self.experiment_id  # noqa: B018
        return MlflowClient(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """The id of the store's experiment; store and experiment are created if needed.

        Raises:
            AbsentStoreError: the server does not answer, or the database cannot be written.
            TrackingError: the experiment is deleted, the database driver is not installed, the database is not a file,
                or the path of the artifacts is too long.
        """
        if self.is_server:
            _check_server(self.uri)
            return self._find_or_create_experiment(artifact_location=None)
        try:
            location = Path(os.path.realpath(self.store.artifacts)).as_uri()  # resolve() fails on a loop of links
            database = sqlite_file(self.uri)
            if not database and len(location) > MAX_LOCATION:
                allowed = f"its URI may have at most {MAX_LOCATION} characters, this one has {len(location)}"
                raise TrackingError(f"tracking.artifacts: got {self.store.artifacts!r}; {allowed}")
            Path(self.store.artifacts).mkdir(parents=True, exist_ok=True)
            Path(database or self.store.artifacts).parent.mkdir(parents=True, exist_ok=True)
            # Parallel jobs would race to create the tables and the experiment.
            with FileLock(f"{database or self.store.artifacts}.lock"):
                if database:
                    is_file(database)
                    create_sqlite(database, self.store.artifacts, self.store.retry_seconds)
                    check_writable(database, self.store.retry_seconds)
                else:
                    check_database(self.uri)
                experiment_id = self._find_or_create_experiment(location)
                analyze(self.uri)
                return experiment_id
        except STORE_ERRORS as error:
            cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__ or error
            raise AbsentStoreError(f"tracking.uri: got {self.uri!r}; cannot be opened: {first_line(cause)}") from error

    def check_readable(self) -> None:
        """Raise an error if the store does not exist; MLflow would create it.

        Raises:
            TrackingError: the store does not exist, or does not answer.
        """
        if self.is_server:
            _check_server(self.uri)
        elif not (database := sqlite_file(self.uri)):
            check_database(self.uri)
        elif not is_file(database):
            raise TrackingError(f"tracking.uri: got {self.uri!r}; there is no such store; train something first")

    def is_read_only(self) -> bool:
        """Return whether the store is read-only, which is known for SQLite only."""
        return is_read_only(self.uri)

    def search(self, experiment_id: str, condition: str, newest_first: bool = False) -> Iterator[Run]:
        """Yield all runs of an experiment that match a filter, read page by page.

        Args:
            experiment_id: id of the experiment.
            condition: a filter of MLflow's search; an empty one matches all runs.
            newest_first: whether to begin with the newest run instead of the oldest.
        """
        order, token = [f"attributes.start_time {'DESC' if newest_first else 'ASC'}"], None
        while True:
            page = self.client.search_runs([experiment_id], condition, 1, PAGE, order, token)
            yield from page
            token = page.token
            if token is None:
                return

    def get_run(self, run_id: str, setting: str) -> Run:
        """Return the run with the id that a setting gives.

        Raises:
            TrackingError: there is no such run.
        """
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in NO_SUCH_RUN:  # the store does not answer, or wants a login
                raise
            raise TrackingError(f"{setting}: got {run_id!r}; there is no such run in {self.uri}") from error

    def repository_of(self, run_id: str) -> ArtifactRepository:
        """Return the artifact repository of a run; the store is asked once for its location.

        Raises:
            TrackingError: they are on another server.
        """
        location = self._location_of(run_id)
        check_location(location, self.uri)
        return get_artifact_repository(location, tracking_uri=self.uri)

    def local_artifacts_of(self, run_id: str) -> Path | None:
        """Return the folder of a run's artifacts; None if they are not on this file system."""
        return local_path(self._location_of(run_id))

    def _location_of(self, run_id: str) -> str:
        if run_id not in self.locations:
            self.locations[run_id] = self.client.get_run(run_id).info.artifact_uri
        return self.locations[run_id]

    def _find_or_create_experiment(self, artifact_location: str | None) -> str:
        name, client = self.store.experiment, MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location, EXPERIMENT_KIND | view_tags(now())))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._find_or_create_experiment(artifact_location)  # another job created it first
        if experiment.lifecycle_stage != "active":
            raise TrackingError(f"tracking.experiment: got {name!r}; it is deleted, restore it or choose another")
        return str(experiment.experiment_id)


def check_location(location: str, uri: str) -> None:
    """Raise an error if artifacts are on a server other than the store's: MLflow would send the user's login there.

    Anybody who can write to the store may have set the location, also that of another run or model to which a location
    such as ``runs:/...`` leads.

    Raises:
        TrackingError: they are on another server, or their location leads to another one.

    Example:
        >>> check_location("mlflow-artifacts:/1/abc/artifacts", "http://lab:5000")
        >>> check_location("http://elsewhere/1", "http://lab:5000")
        Traceback (most recent call last):
        gradclip.errors.TrackingError: tracking.uri: got 'http://lab:5000'; files of the run are on another server
    """
    place, store = urlsplit(location), urlsplit(uri)
    if place.scheme in {"http", "https", "mlflow-artifacts"} and place.netloc.lower() not in {"", store.netloc.lower()}:
        raise TrackingError(f"tracking.uri: got {uri!r}; files of the run are on another server")
    if place.scheme in {"runs", "models"}:
        raise TrackingError(f"tracking.uri: got {uri!r}; files of the run are said to be those of another run or model")


def local_path(location: str) -> Path | None:
    """Return the folder at a location of artifacts; None if it is not on this file system."""
    return Path(local_file_uri_to_path(location)) if urlsplit(location).scheme in {"", "file"} else None


def download(repository: ArtifactRepository, name: str, folder: str, max_bytes: int = MAX_FILE) -> Path | None:
    """Download a file, which anyone may have written, and return its path; None if there is no such regular file.

    Args:
        repository: the artifacts of a run or of a model.
        name: path of the file among them.
        folder: folder to write to.
        max_bytes: size of the largest file that is read.

    Raises:
        TrackingError: the file is larger.
    """
    above = Path(name).parent.as_posix()
    entries = repository.list_artifacts(None if above == "." else above)
    size = next((entry.file_size or 0 for entry in entries if entry.path == name and not entry.is_dir), None)
    local = local_path(repository.artifact_uri)
    if size is None or (local is not None and not (local / name).is_file()):  # a pipe or a device may have no end
        return None
    if size > max_bytes:
        raise TrackingError(f"{name}: the stored file has {size:,} bytes; at most {max_bytes:,} are read")
    return Path(repository.download_artifacts(name, folder))


def _check_server(uri: str) -> None:
    login = read_mlflow_creds()
    auth = (login.username, login.password or "") if login.username else None
    ask = partial(requests.get, f"{uri.rstrip('/')}/health", auth=auth, timeout=SERVER_TIMEOUT)
    try:
        within(SERVER_TIMEOUT, ask).raise_for_status()
    except (requests.RequestException, TimeoutError) as error:
        response = getattr(error, "response", None)
        reason = type(error).__name__ if response is None else response.status_code
        raise AbsentStoreError(f"tracking.uri: got {uri!r}; no MLflow server answers there ({reason})") from error
