"""Errors of all commands are one line with exit code 2; a bug keeps its traceback; no empty folder is left."""

import errno
import io
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gradclip.cli import entry
from gradclip.cli.entry import OutputFolder, errors_in_one_line, run_command
from gradclip.config.error_messages import describe
from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.errors import ConfigError, DataError, GradclipError
from gradclip.program import PACKAGE, use_utf8
from gradclip.tracking.owner import RUN_LOCK, at_end

METHODS = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "clip").glob("*.yaml")))


def error_line(*overrides):
    register_resolvers()
    with (
        initialize_config_dir(version_base="1.3", config_dir=str(CONFIG_FOLDER)),
        pytest.raises(HydraException) as caught,
    ):
        compose("train", [*overrides])
    return describe(caught.value)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "clip=nrom",
            f"clip=nrom: no such option (did you mean 'norm'?); choose from {METHODS}",
        ),
        ("loss=zzz", "loss=zzz: no such option; choose from auto, cross_entropy, huber, mae, mse"),
        ("clip.valu=1", "clip.valu: no such setting or group (did you mean 'clip.value'?)"),
        ("optimiser=sgd", "optimiser: no such setting or group (did you mean 'optimizer'?)"),
        ("sed=1", "sed: no such setting or group (did you mean 'seed'?)"),
        (
            "model.inputs=2",
            "model.inputs: no such setting or group (did you mean 'model.widths'?); an argument of your own class "
            "needs a plus, +model.inputs=...",
        ),
        ("seed=0,1", "seed=0,1: several values need --multirun (-m)"),
        (
            "sweep=norm_thresholds",
            "sweep: write it with a plus, +sweep=...; choose from norm_and_value, norm_thresholds, remedies, "
            "success_by_length, success_by_length_full, value_ranges",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_reported_in_one_line(override, line):
    assert error_line(override) == line


def test_an_override_without_a_value_is_reported_in_one_line():
    line = error_line("seed")
    assert line.startswith("seed: cannot be parsed; write name=value (")
    assert "\n" not in line


@pytest.mark.parametrize("override", ["schedule.name=ä→🙂", "tracking.uri*"])
def test_special_characters_need_quotes(override):
    reason = "special characters need quotes within quotes: \"name='value'\""
    assert error_line(override) == f"{override}: cannot be parsed; write name=value ({reason})"


def test_the_error_for_an_unknown_experiment_lists_the_experiments():
    line = error_line("+experiment=explosoin")
    assert line.startswith("experiment=explosoin: no such option (did you mean 'explosion'?); choose from ")
    assert "norm_scaling" in line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("clip.value: got 0; must be greater than 0"), "clip.value: got 0; must be greater than 0"),
        (DataError("first line.\nsecond line"), "first line"),
        (GradclipError(""), "GradclipError"),
        (ConfigError("seed: got 'a\x1b[2J'; no"), r"seed: got 'a\x1b[2J'; no"),
        (ConfigError(f"seed: got {'9' * 10**7}; no"), f"seed: got {'9' * 190}…{'9' * 195}; no"),
    ],
)
def test_other_errors_are_reported_by_their_first_line(error, line):
    assert describe(error) == line


def test_a_user_error_prints_one_line_and_exits_with_code_2(capsys):
    with pytest.raises(SystemExit) as caught, errors_in_one_line():
        raise ConfigError("seed: got -1; must be greater than or equal to 0")
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err == "error: seed: got -1; must be greater than or equal to 0\n"
    assert captured.out == ""


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), errors_in_one_line():
        raise ZeroDivisionError


def test_a_killed_worker_is_reported_in_one_line(capsys):
    with pytest.raises(SystemExit) as caught, errors_in_one_line():
        raise BrokenProcessPool("The exit codes of the workers are {SIGKILL(-9)}")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "error: hydra.launcher: a worker process was killed (out of memory?); "
        "to continue, repeat the command with skip_finished=true\n"
    )


def test_an_interrupted_command_closes_what_it_opened(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    closed = []

    def main():
        at_end.callback(closed.append, "the parent run")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run_command(main, "train", "")
    assert end.value.code == 130  # the code that shells expect after Ctrl-C
    assert closed == ["the parent run"]


@pytest.mark.parametrize(
    ("made_before", "content", "stays"), [(True, "", True), (False, "", False), (False, "a", True)]
)
def test_only_an_empty_folder_that_the_command_created_is_removed(tmp_path, monkeypatch, made_before, content, stays):
    folder = tmp_path / "run"
    if made_before:
        folder.mkdir()
    config = OmegaConf.create({"hydra": {"run": {"dir": str(folder)}}, "runtime": {"output_dir": str(folder)}})
    monkeypatch.setattr("sys.argv", ["train.py"])

    def main():
        OutputFolder().on_run_start(config)
        (folder / RUN_LOCK).touch()
        if content:
            (folder / content).touch()
        raise ConfigError("seed: got -1")

    with pytest.raises(SystemExit):
        run_command(main, "train", "")
    assert folder.exists() == stays


def test_a_full_disk_is_reported_in_one_line(capsys):
    with pytest.raises(SystemExit) as end, errors_in_one_line("compare"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert end.value.code == 2
    where = "the command's folder or standard output"
    assert capsys.readouterr().err == f"error: {where}: cannot be written: No space left on device\n"


def test_a_folder_on_a_full_disk_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    class FullDisk(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(entry, "TemporaryFile", lambda **_: FullDisk())
    monkeypatch.setattr("sys.argv", ["train.py"])
    config = OmegaConf.create({"hydra": {"run": {"dir": f"{tmp_path}/run"}}})
    with pytest.raises(SystemExit):
        run_command(lambda: OutputFolder().on_run_start(config), "train", "")
    what = f"hydra.run.dir: got '{tmp_path}/run'; cannot be written: No space left on device"
    assert capsys.readouterr().err == f"error: {what}\n"
    assert not [*tmp_path.iterdir()]


def test_a_command_restarts_in_utf8_mode_in_a_locale_with_another_encoding(monkeypatch):
    started = []
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "ISO-8859-1")
    monkeypatch.setattr("os.execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr("sys.orig_argv", ["python", "-B", "src/train.py", "seed=1"])
    use_utf8()
    ((program, command, environment),) = started
    assert (program, command) == (sys.executable, [sys.executable, "-X", "utf8", "-B", "src/train.py", "seed=1"])
    assert environment["PYTHONUTF8"] == "1"


def test_an_error_raised_by_hydra_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py"])
    names = {}
    hydra_file = str(PACKAGE.parent / "hydra" / "main.py")
    exec(compile("def main(): raise AttributeError('no plugin')", hydra_file, "exec"), names)
    with pytest.raises(SystemExit) as end:
        run_command(names["main"], "train", "")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: no plugin; HYDRA_FULL_ERROR=1 shows the traceback\n"
