"""A multirun may be repeated in its folder; another multirun, or a damaged folder, is refused."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gradclip import keys
from gradclip.config.composition import compose_config
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import ConfigError, TrackingError
from gradclip.sweep.multirun import (
    check_earlier,
    close_parent,
    find_parent,
    for_multirun,
    launcher_classes,
    parent_of,
    remove_results,
)
from gradclip.sweep.results import JobResult, read_results
from gradclip.sweep.stopping import ask_to_stop, stopped_by
from gradclip.tracking.files import write_note
from gradclip.tracking.records import MAIN_FILE, MULTIRUN_FILE, PARENT_FILE, SPOOL_FILE, Store


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer=ddp"], r"^trainer\.strategy: got 'ddp'; a job of a multirun trains in one process"),
        (["resume=last"], r"^resume: got 'last' in a multirun; only a single run can be resumed"),
    ],
)
def test_settings_that_a_multirun_does_not_support_are_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        for_multirun(compose_config(overrides))


@pytest.mark.parametrize(
    ("overrides", "classes"),
    [
        (["hydra/launcher=vectorized"], {"VectorizedLauncher"}),
        (["hydra/launcher=vectorized_joblib"], {"ChunksLauncher", "JoblibLauncher", "VectorizedLauncher"}),
        (["hydra/launcher=joblib", "hydra.launcher.temp_folder=/vectorized/SlurmLauncher"], {"JoblibLauncher"}),
        ([], {"BasicLauncher"}),
    ],
)
def test_a_launcher_is_known_by_its_class_and_not_by_its_other_settings(
    overrides: list[str], classes: set[str]
) -> None:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        hydra = compose("train", overrides, return_hydra_config=True).hydra
    assert launcher_classes(hydra.launcher) == classes


def test_only_the_same_multirun_may_be_repeated_in_its_folder(tmp_path: Path) -> None:
    typed = ["clip=norm", "seed=0,1", "tracking.retry_seconds=5"]
    check_earlier(tmp_path, typed)
    OmegaConf.save({"hydra": {"overrides": {"task": typed}}}, tmp_path / "multirun.yaml")
    check_earlier(tmp_path, ["clip=norm", "seed=0,1", "skip_finished=true"])
    with pytest.raises(ConfigError, match=r"^hydra\.sweep\.dir: got '.*'; another multirun wrote to this folder"):
        check_earlier(tmp_path, ["clip=norm", "seed=0"])


@pytest.mark.parametrize("content", ["", "{}", "hydra: 3", "hydra:\n  overrides: [", "\0"])
def test_the_damaged_note_of_an_earlier_multirun_is_reported_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / MULTIRUN_FILE).write_text(content)
    with pytest.raises(ConfigError, match=rf"{MULTIRUN_FILE}: is damaged or cannot be read .*; choose another folder$"):
        check_earlier(tmp_path, ["seed=0,1"])


def test_a_damaged_note_about_the_parent_run_is_reported_before_training(tmp_path: Path) -> None:
    (tmp_path / PARENT_FILE).write_text("{}")
    with pytest.raises(TrackingError, match=rf"{PARENT_FILE}: is damaged, .* \(run_id: Field required\); train again"):
        check_earlier(tmp_path, ["seed=0,1"])


def test_a_folder_with_a_file_in_place_of_a_job_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1").write_text("")
    allowed = "1 in it is a file, and a job needs a folder of this name"
    with pytest.raises(ConfigError, match=f"^hydra\\.sweep\\.dir: got '.*'; {allowed}$"):
        check_earlier(tmp_path, ["seed=0,1"])


def test_another_multirun_in_a_folder_of_the_same_name_has_its_own_parent_run(tmp_path: Path) -> None:
    created = []
    write_note(tmp_path / MAIN_FILE, {})
    for typed in (["seed=0,1"], ["seed=0,1", "tracking.retry_seconds=5"], ["seed=2"]):
        OmegaConf.save({"hydra": {"overrides": {"task": typed}}}, tmp_path / "multirun.yaml")
        created.append(parent_of(tmp_path).tags[keys.CREATION])
    assert created[0] == created[1] != created[2]


def test_a_multirun_whose_writes_wait_for_the_store_is_not_repeated_in_its_folder(tmp_path: Path) -> None:
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"]}}}, tmp_path / "multirun.yaml")
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / SPOOL_FILE).write_bytes(b"\xff\n")  # damaged, but a write
    with pytest.raises(ConfigError, match=r"; writes of earlier runs wait there for the store; send them first: "):
        check_earlier(tmp_path, ["seed=0,1"])


def test_a_repeated_multirun_is_not_stopped_by_an_earlier_request_and_does_not_report_earlier_jobs(
    tmp_path: Path,
) -> None:
    ask_to_stop(tmp_path, 2)
    JobResult(1, "seed=1", outcome="stopped", error="not started: stopped by Ctrl-C").write(tmp_path / "1")
    (tmp_path / "1" / "run.json").touch()
    write_note(tmp_path / PARENT_FILE, {"run_id": "1", "store": Store("sqlite:///earlier.db", "", "x")._asdict()})
    remove_results(tmp_path)
    assert find_parent(tmp_path) is None  # this command may name another store
    assert stopped_by(tmp_path) is None
    assert [job.error for job in read_results(tmp_path)] == ["it left no result"]
    assert (tmp_path / "1" / "run.json").exists()


def test_a_multirun_with_no_write_in_the_spool_of_a_job_has_no_parent_run_to_close(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / SPOOL_FILE).touch()  # as a full disk leaves it
    close_parent(tmp_path, "KILLED")
    assert not (tmp_path / SPOOL_FILE).exists()
