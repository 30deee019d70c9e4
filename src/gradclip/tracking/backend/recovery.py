"""Recovery of runs that ended early: find them, reopen them, and close those whose process is gone."""

import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Run, RunTag

from gradclip import keys
from gradclip.errors import TrackingError, first_line
from gradclip.formatting import printable
from gradclip.scores import stored_score
from gradclip.tracking.backend.connection import RUN_ID, download
from gradclip.tracking.backend.database import STORE_ERRORS
from gradclip.tracking.backend.queries import OUTCOMES, to_stored_run
from gradclip.tracking.backend.writes import Writes, is_empty
from gradclip.tracking.owner import is_dead
from gradclip.tracking.records import StoppedRun
from gradclip.tracking.scratch import scratch_folder
from gradclip.tracking.signature import signed_settings
from gradclip.tracking.stored_runs import StoredRun

LAST = "last"
log = logging.getLogger(__name__)


class Recovery(Writes):
    """Stopped, dead and finished runs; see :class:`gradclip.tracking.operations.Operations`."""

    _dead_runs_closed = False

    def open(self) -> str:
        """Create store and experiment if needed, close dead runs and return the experiment's id."""
        experiment_id = self.experiment_id
        if not self._dead_runs_closed:
            self.close_dead_runs()
            self._dead_runs_closed = True
        return experiment_id

    def close_dead_runs(self) -> None:
        """Set runs of this machine to KILLED if their process is gone, after a SIGKILL or a power loss.

        An empty duplicate, which a server created although the original run had ended, is deleted.
        """
        here = f"attributes.status = 'RUNNING' and tags.{keys.HOST} = '{socket.gethostname()}'"
        running = list(self.search(self.experiment_id, here))
        for run in sorted(running, key=is_empty):  # a duplicate is recognized once the original has ended
            try:
                self._close_if_dead(run)
            except STORE_ERRORS as error:  # a run that cannot be closed must not block training
                log.error(f"run {run.info.run_id} could not be closed: {printable(first_line(error))}")

    def _close_if_dead(self, run: Run) -> None:
        same = self.runs_created_as(run.data.tags.get(keys.CREATION)) if is_empty(run) else []
        if any(other.info.status != "RUNNING" for other in same):  # nothing will ever write to this duplicate
            self.client.delete_run(run.info.run_id)
        elif is_dead(run.data.tags):
            self.client.set_terminated(run.info.run_id, "KILLED")

    def find_stopped_run(self, run_id: str) -> StoppedRun:
        """Find a run to resume.

        Raises:
            TrackingError: there is none, or it is finished or still running.
        """
        experiment_id = self.experiment_id
        if run_id != LAST and not RUN_ID.fullmatch(run_id):
            raise TrackingError(f"resume: got {run_id!r}; must be the id of a run, 32 hexadecimal digits, or {LAST!r}")
        run = self._last_stopped(experiment_id) if run_id == LAST else self.get_run(run_id, "resume")
        tags = run.data.tags
        if run.info.status == "FINISHED":
            raise TrackingError(f"resume: got {run_id!r}; that run is finished")
        if run.info.status == "RUNNING" and not is_dead(run.data.tags):
            raise TrackingError(f"resume: got {run_id!r}; that run is still running, on {tags.get(keys.HOST)}")
        return StoppedRun(
            run_id=run.info.run_id,
            name=printable(run.info.run_name or ""),
            folder=tags.get(keys.FOLDER, ""),
            host=tags.get(keys.HOST, ""),
            config=self._read_config(run.info.run_id),
            data_digest=tags.get(keys.DATA_DIGEST, ""),
            parameters=frozenset(run.data.params),
            last_steps={metric.key: metric.step for metric in run.data._metric_objs},
        )

    def find_finished_run(self, fingerprint: str) -> StoredRun | None:
        """Find the last finished run with the same settings; a run that lacks a result is skipped."""
        same = f"attributes.status = 'FINISHED' and tags.{keys.CONFIG_HASH} = '{fingerprint}'"
        return next(filter(_has_result, map(to_stored_run, self.search(self.experiment_id, same))), None)

    def reopen_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set a run to RUNNING, owned by the process that its tags name."""
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.update_run(run_id, status="RUNNING")

    def _last_stopped(self, experiment_id: str) -> Run:
        """Return the last stopped run that a command of this user began, which tags alone do not prove."""
        here = f"tags.{keys.HOST} = '{socket.gethostname()}'"
        for run in self.search(experiment_id, here, newest_first=True):
            is_dead_run = run.info.status == "RUNNING" and is_dead(run.data.tags)
            if (run.info.status in {"KILLED", "FAILED"} or is_dead_run) and _is_ours(run):
                return run
        experiment = self.store.experiment
        raise TrackingError(
            f"resume: got {LAST!r}; none of your runs in experiment {experiment!r} was stopped on this machine"
        )

    def _read_config(self, run_id: str) -> str:
        with scratch_folder() as scratch:
            path = download(self.repository_of(run_id), keys.CONFIG_FILE, str(scratch))
            if path is None:
                raise TrackingError(f"resume: got {run_id!r}; the run was stopped before its config was stored")
            return path.read_text(errors="surrogateescape")  # not valid YAML, so it is refused later


def _is_ours(run: Run) -> bool:
    """Return whether a command of this user began a run, by the note in its folder; report a damaged note."""
    try:
        return signed_settings(Path(run.data.tags.get(keys.FOLDER, "")), run.info.run_id) is not None
    except TrackingError as error:
        log.error(f"run {run.info.run_id} is skipped: {printable(str(error))}")
        return False


def _has_result(run: StoredRun) -> bool:
    """Return whether a run has an outcome and the final scores that belong to it."""
    score = stored_score(run.metrics, run.tags)
    return run.outcome in OUTCOMES and score is not None and score.final("train") in run.metrics
