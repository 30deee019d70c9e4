"""Evidence from the telemetry of a run equals that computed by hand; damaged telemetry is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradclip import keys
from gradclip.advise.evidence import gather, read_telemetry
from gradclip.diagnosis import read_log
from gradclip.diagnosis.conditions import steps_before_explosion
from gradclip.errors import ConfigError
from tests.support.evidence import made_run, made_telemetry


def test_mean_percentile_and_drift_of_the_norms_equal_those_by_hand() -> None:
    evidence = gather(made_run(), made_telemetry(np.arange(1.0, 101.0)))
    assert evidence.norms is not None
    assert evidence.norms.mean == 50.5
    assert evidence.norms.p90 == np.percentile(np.arange(1, 101), 90)
    assert evidence.norms.drift == 88 / 13  # medians of 76 to 100 and of 1 to 25
    assert not evidence.exploded


@pytest.mark.parametrize(("split", "chosen_on"), [("validation", "reward"), ("test", "test")])
def test_a_score_that_a_module_logs_is_named_unless_it_is_on_test_rows(split: str, chosen_on: str) -> None:
    run = made_run()
    tags = {keys.SCORE: "reward", keys.SCORE_MODE: "max", keys.SCORE_SPLIT: split}
    logged = replace(run, metrics={"final/reward": 1.0}, tags=run.tags | tags)
    assert gather(logged, made_telemetry(np.ones(5))).training.chosen_on == chosen_on


@pytest.mark.parametrize(
    ("norms", "usable"), [([1, 1, 1], 3), ([1, 5, 30, 400], 3), ([2, 300, 1], 1), ([1, 2, 11], 3), ([1, 2, 16], 2)]
)
def test_steps_are_usable_up_to_ten_times_the_median_so_far(norms: Sequence[float], usable: int) -> None:
    assert steps_before_explosion(np.array(norms, dtype=float)) == usable


def test_only_steps_before_the_explosion_of_a_diverged_run_are_used() -> None:
    norms = [4.0, 6.0, 5.0, 900.0, 1e8, np.inf]
    evidence = gather(made_run(outcome="diverged"), made_telemetry(norms))
    assert evidence.exploded
    assert evidence.steps == 6
    assert evidence.norms is not None
    assert (evidence.norms.steps, evidence.norms.mean) == (3, 5.0)


def test_spikes_of_a_run_that_learned_are_not_an_explosion() -> None:
    evidence = gather(made_run(), made_telemetry([1.0] * 50 + [500.0] + [1.0] * 49))
    assert evidence.norms is not None
    assert evidence.norms.steps == 100


def test_a_run_without_a_finite_gradient_has_no_norms() -> None:
    evidence = gather(made_run(outcome="diverged"), made_telemetry([np.inf, np.nan]))
    assert evidence.norms is None
    assert evidence.exploded


def test_the_coefficient_is_the_mean_ratio_of_the_norms_after_and_before_clipping() -> None:
    evidence = gather(made_run(clip="norm"), made_telemetry([1.0, 2.0, 4.0], clipped=[1.0, 1.0, 1.0]))
    assert evidence.coefficient == pytest.approx((1 + 0.5 + 0.25) / 3)


def test_one_parameter_that_spikes_alone_is_named() -> None:
    quiet, loud = np.ones(100), np.ones(100)
    loud[::10] = 50.0
    telemetry = made_telemetry(np.hypot(quiet, loud))
    telemetry = telemetry.assign(**{f"{keys.GRAD_NORM}/head": loud, f"{keys.GRAD_NORM}/body": quiet})
    evidence = gather(made_run(), telemetry)
    assert evidence.spiking_parameter == "head"
    assert evidence.spike_factor == 50
    both = telemetry.assign(**{f"{keys.GRAD_NORM}/body": loud})
    assert gather(made_run(), both).spiking_parameter == ""


def test_the_share_of_one_element_is_measured_in_spikes() -> None:
    norms = np.array([1.0] * 90 + [10.0] * 10)
    telemetry = made_telemetry(norms).assign(**{keys.GRAD_MAX_ABS: np.where(norms > 5, 8.0, 0.1)})
    assert gather(made_run(), telemetry).element_share == pytest.approx(0.64)


def test_the_norm_whose_step_changes_the_weights_by_10_percent_by_hand() -> None:
    norms = {"update/norm/a": 0.3, "update/norm/b": 0.4, "weight/norm/a": 6.0, "weight/norm/b": 8.0}
    telemetry = made_telemetry([2.0] * 10).assign(**norms)
    assert gather(made_run(), telemetry).norm_for_10pct_step == pytest.approx(4.0)  # 0.5 of 10 at norm 2
    assert np.isnan(gather(made_run(optimizer="adam"), telemetry).norm_for_10pct_step)


def test_first_steps_are_corrected_for_momentum_that_has_not_built_up() -> None:
    telemetry = made_telemetry([2.0, 2.0]).assign(**{"update/norm/a": [0.5, 0.95], "weight/norm/a": 10.0})
    evidence = gather(made_run(optimizer__momentum="0.9"), telemetry)  # 0.5 and 0.95 approach 5
    assert evidence.norm_for_10pct_step == pytest.approx(0.4)


@pytest.mark.parametrize("epoch", [np.nan, np.inf])
def test_a_best_epoch_that_is_not_a_number_is_unknown(epoch: float) -> None:
    run = made_run()
    found = gather(replace(run, metrics=run.metrics | {keys.BEST_EPOCH: epoch}), made_telemetry([1.0, 2.0]))
    assert found.training.best_epoch == 0


@pytest.mark.parametrize("damage", ["noise", "a column is gone", "text", "unused text", "a step is NaN"])
def test_damaged_telemetry_is_refused(tmp_path: Path, damage: str) -> None:
    telemetry, path = made_telemetry([1.0, 2.0]), tmp_path / "telemetry.parquet"
    changed = {
        "a column is gone": telemetry.drop(columns=keys.GRAD_NORM),
        "text": telemetry.assign(step="one"),
        "a step is NaN": telemetry.assign(step=[1.0, np.nan]),
        "unused text": telemetry.assign(more="1"),  # text of any length, which may not fit in memory
    }
    changed[damage].to_parquet(path) if damage in changed else path.write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(ConfigError, match=r"^run: got 'x'; its telemetry/"):
        read_telemetry(path, "run: got 'x'")


def test_telemetry_too_large_for_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry, path = made_telemetry([1.0, 2.0]), tmp_path / "telemetry.parquet"
    telemetry.to_parquet(path)
    monkeypatch.setattr(read_log, "MAX_CELLS", telemetry.size - 1)
    with pytest.raises(ConfigError, match=rf"it has {telemetry.size} cells; at most {telemetry.size - 1} are read$"):
        read_telemetry(path, "run: got 'x'")
