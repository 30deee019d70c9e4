"""Training from Python: the same settings, checks and results as the command ``train``."""

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import gradclip
from gradclip.cli import notebook
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import Interrupted

QUICK = {"tracking": "none", "trainer.max_epochs": 1, "trainer.progress_bar": False}


def train(folder: Path, *overrides: str, **settings: object) -> gradclip.FinishedRun:
    return gradclip.train(*overrides, f"hydra.run.dir={folder}", **QUICK | settings)


def test_a_run_shows_the_summary_that_the_command_prints(tmp_path: Path) -> None:
    run = train(tmp_path / "none", clip="none", seed=3)
    assert (run.outcome, run.name, run.run_id) == ("diverged", "none max_epochs=1 seed=3", None)
    assert np.isnan([*run.scores.values()]).all()
    assert run.explosion is not None
    assert f"{run}".endswith(f"{run.explosion}")
    assert len(run.record.step) == 16
    assert {"learning_curve", "gradient_norm"} < set(run.figures)
    assert run.figures["gradient_norm"]._repr_png_().startswith(b"\x89PNG")
    assert run._repr_html_().startswith("<pre>Train: nan, Test: nan\n")
    assert run._repr_html_().count("<img src=") == 2


def test_training_restores_hydra_and_signal_handlers(tmp_path: Path) -> None:
    handlers, found = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], []
    settings = {"clip": "norm", "clip.value": 1.0, "figures": False}
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):  # the user's own use of Hydra
        in_thread = threading.Thread(target=lambda: found.append(train(tmp_path / "thread", **settings)))
        in_thread.start()
        in_thread.join()
        found.append(train(tmp_path / "main", "clip=norm", "clip.value=1.0", figures=False))
        assert compose("train", ["seed=4"]).seed == 4
    assert not GlobalHydra.instance().is_initialized()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    first, second = found
    assert first.scores == second.scores
    assert not first.figures


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        (["clip=nrm"], {}, r"clip=nrm: no such option \(did you mean 'norm'\?\)"),
        ([], {"seed": -1}, "seed: got -1; must be greater than or equal to 0"),
        ([], {"clip.vale": 2}, r"clip\.vale: no such setting or group \(did you mean 'clip\.value'\?\)"),
        ([], {"seed": range(3)}, r"seed: got range\(0, 3\); must be a number, a string, a list, a mapping or None"),
        (
            [],
            {"model.widths": [{1}]},
            r"model\.widths: got \[\{1\}\]; must be a number, a string, a list, a mapping or N",
        ),
        ([], {"model.widths": [np.int64(0)]}, r"model\.widths\.0: got 0; must be greater than 0"),
        ([["clip=norm"]], {}, r"overrides: got \['clip=norm'\]; each must be a string; pass a list as \*overrides"),
        (["-m"], {}, "-m: not a setting; write name=value"),
        (["seed=0,1"], {}, "seed=0,1: several values need --multirun"),
        (
            [],
            {"clip.value": 1.0},
            r"clip\.value: got 1\.0; clip=none has no threshold; choose a method, such as clip=norm",
        ),
        (["resume=last"], {}, "resume: got 'last'; use python src/train.py resume="),
        (
            ["data=table", "data.path=none.csv", "data.target=y"],
            {},
            r"data\.path: got 'none\.csv'; there is no such file",
        ),
    ],
)
def test_a_mistake_raises_an_error_of_one_line(
    tmp_path: Path, overrides: list[Any], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(gradclip.GradclipError, match=f"^{message}") as caught:
        train(tmp_path / "run", *overrides, **settings)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_an_interruption_reports_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_job: object) -> None:
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(notebook, "train_job", interrupt)
    with pytest.raises(KeyboardInterrupt, match="Stopped by Ctrl-C after step 0; it was not tracked"):
        train(tmp_path / "run")
