"""The parent run of a multirun, which the first job creates and the end of the multirun closes."""

from collections.abc import Sequence
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gradclip import keys
from gradclip.config.overrides import as_typed, parent_run_name, train_command
from gradclip.config.schema import TrainConfig
from gradclip.errors import ConfigError, disk_errors, first_line
from gradclip.program import command_line
from gradclip.sweep.page import Page
from gradclip.sweep.results import RESULT_FILE
from gradclip.sweep.search.report import NOTE, SEARCH_FOLDER
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.files import read_note
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import deliver, result_of
from gradclip.tracking.records import MAIN_FILE, MULTIRUN_FILE, PARENT_FILE, SPOOL_FILE, Call, Parent, ParentNote, now
from gradclip.tracking.spool import Spool
from gradclip.tracking.sync import unsent_below
from gradclip.training.job import STOP_FILE

TABLES_FILE = "runs.md"  # tables of the jobs, in the folder of a multirun
PAGE_FILE = "page.json"  # metrics and tags of the parent run, in the same folder


def check_earlier(folder: Path, typed: Sequence[str]) -> None:
    """Refuse the folder of another multirun, whose jobs would mix with ours; the same multirun may be repeated.

    Raises:
        ConfigError: the folder holds another multirun, writes that the store has not accepted yet, or a file that has
            the name of a job's folder.
        TrackingError: the note about its parent run is damaged.
    """
    find_parent(folder)
    got = f"hydra.sweep.dir: got {str(folder)!r}"
    for path in folder.iterdir():
        if path.name.isdecimal() and not path.is_dir():
            raise ConfigError(f"{got}; {path.name} in it is a file, and a job needs a folder of this name")
    if not (folder / MULTIRUN_FILE).exists():
        return
    if parent_run_name(_typed_in(folder)) != parent_run_name(typed):
        raise ConfigError(f"{got}; another multirun wrote to this folder; choose another folder")
    if unsent_below(folder):
        send = command_line("sync", [str(folder)])
        raise ConfigError(f"{got}; writes of earlier runs wait there for the store; send them first: {send}")


def remove_results(folder: Path) -> None:
    """Remove files of an earlier command that would stop this one, or would count as its results.

    The note about the parent run is removed too: this command may name another store. In the same store its first job
    finds the parent run again.
    """
    results = (STOP_FILE, PARENT_FILE, TABLES_FILE, PAGE_FILE, f"{SEARCH_FOLDER}/{NOTE}", f"*/{RESULT_FILE}")
    for path in (path for name in results for path in folder.glob(name)):
        path.unlink()


def _typed_in(folder: Path) -> list[str]:
    path = folder / MULTIRUN_FILE
    try:
        typed = OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task")
        if not isinstance(typed, ListConfig):  # Hydra was killed before it had written the file
            raise ValueError("it has no hydra.overrides.task")
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = f"is damaged or cannot be read ({first_line(error)})"
        raise ConfigError(f"{path}: {reason}; choose another folder") from error
    return as_typed(typed)


def parent_of(folder: Path) -> Parent:
    """Return the parent run of a multirun, named after the overrides that were typed.

    All processes of the multirun, and a repetition in the same folder, find the same parent run. Another multirun in a
    folder of this name, whose earlier content was deleted, has its own parent run.
    """
    typed = _typed_in(folder)
    name, command = parent_run_name(typed), train_command(typed, multirun=True)
    created = {keys.COMMAND: command, keys.CREATION: uuid5(NAMESPACE_URL, f"{folder} {name}").hex}
    return Parent(str(folder), name, created | read_note(folder / MAIN_FILE, dict[str, str]))


def launcher_classes(launcher: DictConfig) -> set[str]:
    """Return the name of a launcher's class and, if it runs chunks, those of the launchers over and within them.

    Args:
        launcher: settings of the launcher.

    Example:
        >>> launcher_classes(OmegaConf.create({"_target_": "hydra_plugins.vectorized_launcher.VectorizedLauncher"}))
        {'VectorizedLauncher'}
    """
    settings = [launcher, launcher.get("over"), launcher.get("within")]
    return {str(one["_target_"]).rpartition(".")[2] for one in settings if one}


def for_multirun(config: TrainConfig) -> TrainConfig:
    """Return a job's settings without a progress bar, because jobs may run in parallel.

    Raises:
        ConfigError: the job would start processes that each start the whole multirun, or would resume a run.
    """
    if config.resume is not None:
        raise ConfigError(f"resume: got {config.resume!r} in a multirun; only a single run can be resumed, without -m")
    if config.trainer.strategy == "ddp":
        raise ConfigError("trainer.strategy: got 'ddp'; a job of a multirun trains in one process")
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"progress_bar": False})})


def find_parent(folder: Path) -> RunAddress | None:
    """Return the parent run of the multirun in a folder; None if no job has created it or it is closed."""
    path = folder / PARENT_FILE
    if not path.exists():
        return None
    note = read_note(path, ParentNote)
    return RunAddress(note.store, note.run_id, str(folder))


def end_parent(parent: RunAddress, status: str) -> None:
    """Store the tables and the search with a parent run, and close it.

    Raises:
        TrackingError: the store refuses a write.
    """
    Path(parent.folder, PARENT_FILE).unlink()
    delivered = [deliver(call) for call in _last_calls(parent, status)]
    for one in reversed(delivered):  # all are written before the first failure is raised
        result_of(one)


def close_parent(folder: Path, status: str) -> None:
    """Close the parent run of a multirun if it is open; if its creation is spooled, spool its end too."""
    if parent := find_parent(folder):
        end_parent(parent, status)
        return
    spool = Spool(folder)
    jobs = [] if spool.path.exists() else [Spool(path.parent) for path in folder.glob(f"*/{SPOOL_FILE}")]
    if first_job := next(filter(len, jobs), None):  # the spool of a job that began on a full disk is empty
        with disk_errors(folder):
            store, created = first_job.calls()[0].store, parent_of(folder)
            create = (created.name, created.tags, None, None)
            spool.add(Call(store, Operations.create_run.__name__, "", create, str(folder)))
            for call in _last_calls(RunAddress(store, "", str(folder)), status):
                spool.add(call)


def _last_calls(parent: RunAddress, status: str) -> list[Call]:
    """Return the writes that store the tables, the search and the page, and close the run."""
    calls, folder = [], Path(parent.folder)
    if (tables := folder / TABLES_FILE).exists():
        calls.append(parent.call(Operations.write_text, tables.read_text(), tables.name))
    if (search := folder / SEARCH_FOLDER).exists():
        calls.append(parent.call(Operations.write_files, str(search)))
    if (page := folder / PAGE_FILE).exists():
        calls.append(parent.call(Operations.write_summary, *read_note(page, Page), now()))
    return [*calls, parent.call(Operations.end_run, status, now())]
