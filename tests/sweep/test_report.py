"""The end of a multirun counts and compares all its runs, including those finished earlier."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from omegaconf import OmegaConf

from gradclip.errors import TrackingError
from gradclip.sweep import report
from gradclip.sweep.report import SweepReport, compare_jobs
from gradclip.sweep.results import JobResult
from gradclip.sweep.tables import run_table, success_tables

HYDRA = ["hydra/launcher=joblib", "hydra.mode=MULTIRUN"]  # the overrides of Hydra's own settings


def jobs(**solved: list[bool | None]) -> list[JobResult]:
    runs = [(name, seed, one) for name, seeds in solved.items() for seed, one in enumerate(seeds)]
    return [JobResult(number, f"{name} seed={seed}", solved=one) for number, (name, seed, one) in enumerate(runs)]


def test_solved_runs_of_each_setting_are_counted_with_a_wilson_interval() -> None:
    (table,) = success_tables(jobs(norm=[True] * 20, none=[False, True, False, False]))
    assert table.rows == [("norm", "20 of 20", "84% to 100%"), ("none", "1 of 4", "5% to 70%")]


def test_runs_that_were_done_before_are_counted_with_the_others_of_their_setting() -> None:
    runs = [replace(job, done_before=job.number == 0) for job in jobs(norm=[True, False, True])]
    assert success_tables(runs)[0].rows == [("norm", "2 of 3", "21% to 94%")]
    assert [row[1] for row in run_table(runs).rows] == ["norm seed=0 (done before)", "norm seed=1", "norm seed=2"]


def test_the_success_table_needs_several_seeds_and_a_definition_of_solved() -> None:
    assert success_tables(jobs(norm=[True], none=[False])) == []
    assert success_tables(jobs(norm=[None, None])) == []


def test_a_shortened_table_has_all_failed_runs_and_the_first_of_the_others() -> None:
    many = [JobResult(number, f"norm seed={number}", error="it broke" if number == 8 else "") for number in range(10)]
    table = run_table(many, max_rows=3)
    assert table.title == "10 runs, 3 of them shown, all in runs.md"
    assert [row[0] for row in table.rows] == ["0", "1", "8"]
    assert run_table(many).title == "10 runs"


def test_words_that_all_names_share_are_in_the_title_only() -> None:
    names = ["none path=my table.csv lr=0.1 seed=0", "none path=my table.csv lr=0.2 seed=0"]
    table = run_table([JobResult(number, name, done_before=number == 1) for number, name in enumerate(names)])
    assert table.title == "2 runs with path=my table.csv seed=0"
    assert [row[1] for row in table.rows] == ["none lr=0.1", "none lr=0.2 (done before)"]
    solved = [JobResult(0, f"none length=9 lr={rate} seed={seed}", solved=True) for rate in (1, 2) for seed in (0, 1)]
    assert [row[0] for row in success_tables(solved)[0].rows] == ["none lr=1", "none lr=2"]
    tables = run_table([JobResult(0, "none table path=north 20.csv"), JobResult(1, "none table path=south 20.csv")])
    assert tables.title == "2 runs with table"
    assert [row[1] for row in tables.rows] == ["none path=north 20.csv", "none path=south 20.csv"]
    alone = run_table([JobResult(0, names[0])])
    assert (alone.title, alone.rows[0][1]) == ("1 run", names[0])


def test_validation_scores_have_a_column_if_a_run_has_one() -> None:
    without = JobResult(0, "a", score="mse", scores={"train": 1.0, "test": 2.0})
    assert run_table([without]).columns == ("job", "run", "outcome", "train MSE", "test MSE", "clipped")
    table = run_table([without, JobResult(1, "b", score="mse", scores={"train": 1.0, "validation": 3.0, "test": 2.0})])
    assert table.columns[3:6] == ("train MSE", "validation MSE", "test MSE")
    assert [row[3:6] for row in table.rows] == [("1.00", "", "2.00"), ("1.00", "3.00", "2.00")]
    logged = run_table([JobResult(0, "a", score="val_loss", scores={"train": 1.0, "test": 2.0})])
    assert logged.columns[3:5] == ("loss/train", "val_loss")


@pytest.mark.parametrize(("done_before", "compared"), [(False, "parent"), (True, ["0", "1"])])
def test_jobs_finished_earlier_are_compared_with_the_new_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done_before: bool, compared: str | list[str]
) -> None:
    compare = Mock(return_value=Mock(summaries=[]))
    monkeypatch.setattr("gradclip.compare.comparison.compare", compare)
    monkeypatch.setattr(report, "find_parent", Mock(return_value=Mock(run_id="parent")))
    monkeypatch.setattr(report, "result_of", Mock())
    both = [JobResult(0, "a", "0", done_before=done_before), JobResult(1, "b", "1")]
    config = {"figures": False, "figure_format": "png", "hydra": {"overrides": {"task": ["seed=0,1"], "hydra": HYDRA}}}
    assert compare_jobs(tmp_path, both, OmegaConf.create(config))
    assert compare.call_args.args[1] == compared
    assert compare.call_args.kwargs["typed"] == ["seed=0,1", "hydra/launcher=joblib"]


def test_an_error_at_the_start_or_the_end_of_a_multirun_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path) -> None:
        raise TrackingError(f"hydra.sweep.dir: got '{folder}'; another command is using this folder")

    hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": ["seed=0,1"]}, "launcher": {}}
    config = OmegaConf.create({"hydra": hydra})
    monkeypatch.setattr(report, "listen", fail)
    monkeypatch.setattr(report, "read_results", fail)
    for start_or_end in (SweepReport().on_multirun_start, SweepReport().on_multirun_end):
        with pytest.raises(SystemExit) as end:  # Hydra only warns of any other exception
            start_or_end(config)
        assert end.value.code == 2
        line = f"error: hydra.sweep.dir: got '{tmp_path}'; another command is using this folder\n"
        assert capsys.readouterr().err == line
    monkeypatch.setattr(report, "FULL_ERRORS", True)  # HYDRA_FULL_ERROR=1
    with pytest.raises(SystemExit):
        SweepReport().on_multirun_end(config)
    assert capsys.readouterr().err.startswith("Traceback")


def test_a_store_that_fails_at_the_end_of_a_multirun_leaves_the_status_of_the_parent_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "read_results", lambda _: [JobResult(0, "a", "0", "learned")])
    monkeypatch.setattr(report, "pages_of", Mock(side_effect=TrackingError("tracking.uri: no server answers")))
    monkeypatch.setattr(report, "close_parent", close := Mock())
    with pytest.raises(SystemExit) as end:
        SweepReport().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: the runs could not be read: tracking.uri: no server answers\n"
    close.assert_called_once_with(tmp_path, "FINISHED")


@pytest.mark.parametrize(
    "launcher",
    [{"_target_": "x.SlurmLauncher"}, {"_target_": "x.ChunksLauncher", "over": {"_target_": "x.SlurmLauncher"}}],
)
def test_missing_slurm_is_reported_before_a_folder_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], launcher: dict[str, object]
) -> None:
    folder = tmp_path / "multirun"
    hydra = {"sweep": {"dir": str(folder)}, "overrides": {"task": ["seed=0,1"]}, "launcher": launcher}
    monkeypatch.setattr(report, "which", Mock(return_value=None))
    with pytest.raises(SystemExit) as end:
        SweepReport().on_multirun_start(OmegaConf.create({"hydra": hydra}))
    assert end.value.code == 2
    line = "error: hydra/launcher=submitit_slurm: needs Slurm; its command srun was not found\n"
    assert capsys.readouterr().err.endswith(line)
    assert not folder.exists()
