"""A training run leaves only its own results in its folder, and a stop leaves it whole."""

import signal
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from gradclip import keys
from gradclip.cli.messages import run_message
from gradclip.config.composition import compose_config
from gradclip.errors import Interrupted
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.stacked_jobs import train_stacked
from gradclip.tracking.records import CHECKPOINT_FILE, Parent
from gradclip.training import pipeline
from gradclip.training.components import build_components
from gradclip.training.description import describe
from gradclip.training.job import Job
from gradclip.training.pipeline import fit, save, train

LIGHT = ("tracking=none", "trainer.max_epochs=1", "figures=false", "trainer.progress_bar=false", "log_model=false")


@pytest.mark.parametrize("is_stacked", [False, True], ids=["single", "stacked"])
def test_a_run_keeps_no_results_of_an_earlier_run_in_its_folder(tmp_path, is_stacked):
    job = Job(compose_config(LIGHT), LIGHT, tmp_path, parent=Parent(str(tmp_path), "multirun", {}))
    for name in (keys.WEIGHTS_FILE, "figures/predictions.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    if is_stacked:
        train_stacked([job], ReplicaRuns(points=10, keep_all=False, lock=tmp_path / "run.lock"), max_replicas=1)
    else:
        train(job)
    assert (tmp_path / keys.TELEMETRY_FILE).exists()
    assert not [*tmp_path.glob("weights/*"), *tmp_path.glob("figures/*")]


@pytest.mark.parametrize(
    ("settings", "is_mixed"), [(["clip=skip", "clip.value=300"], True), (["clip=norm", "clip.value=1"], False)]
)
def test_the_clip_fraction_is_reported_with_the_steps_that_it_counts(tmp_path, settings, is_mixed):
    config = compose_config([*LIGHT, "trainer.max_epochs=3", *settings])
    job = Job(config, LIGHT, tmp_path)
    result = train(job)
    record = result.record
    finite = np.isfinite(record.norm)
    assert (0 < finite.sum() < len(finite)) == is_mixed  # some steps have no finite gradient
    changed = (record.norm != record.norm_clipped)[finite].sum()
    which = " with a finite gradient" if is_mixed else ""
    expected = f"changed {changed / finite.sum():.0%} of {finite.sum()} steps{which}"
    assert f" {expected}; gradient norm" in run_message(job, result)
    assert f", {expected}. Gradient norm" in describe(config, result)


def test_the_limits_of_recurrent_graves_act(tmp_path):
    few = ["data.validation_sequences=100", "data.test_sequences=100", "data.steps_per_epoch=20"]
    summary = train(Job(compose_config([*LIGHT, "+experiment=recurrent_graves", *few]), LIGHT, tmp_path)).summary
    assert summary.steps == 20
    assert summary.clip_fraction > 0.5


def test_a_resumed_run_keeps_weights_of_64_bits(tmp_path):
    config = compose_config([*LIGHT, "clip=norm", "trainer.precision=64-true"])
    stopped, resumed = (build_components(config, tmp_path) for _ in range(2))
    fit(Job(config, LIGHT, tmp_path), stopped)
    stopped.trainer.save_checkpoint(tmp_path / CHECKPOINT_FILE)
    fit(Job(config, LIGHT, tmp_path, resumed=Mock()), resumed)  # all epochs are done
    for name, weight in stopped.module.state_dict().items():
        assert torch.equal(weight, resumed.module.state_dict()[name]), name


def test_a_second_request_to_stop_keeps_the_step_of_the_first(tmp_path, monkeypatch):
    def end_early(*arguments):
        arguments[-1].step = 5
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(pipeline, "fit", Mock(side_effect=Interrupted(signal.SIGTERM)))
    monkeypatch.setattr(pipeline, "end_early", end_early)
    with pytest.raises(Interrupted) as stop:
        train(Job(compose_config(LIGHT), LIGHT, tmp_path))
    assert (stop.value.signal, stop.value.step) == (signal.SIGTERM, 5)


def test_a_stop_waits_until_the_store_has_read_the_model(tmp_path, monkeypatch):
    folders, existed = [], []
    monkeypatch.setattr(pipeline, "save_model", lambda _folder, scratch, *_: folders.append(scratch))
    monkeypatch.setattr(pipeline, "end_tags", Mock())
    monkeypatch.setattr(pipeline, "write_result", Mock(side_effect=Interrupted(signal.SIGINT)))
    run = Mock()
    run.wait.side_effect = lambda: existed.append(folders[0].exists())
    with pytest.raises(Interrupted):
        save(Job(compose_config(["clip=norm"]), (), tmp_path), Mock(run=run))
    assert existed == [True]
