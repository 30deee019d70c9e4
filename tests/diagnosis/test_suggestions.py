"""Suggestions from known evidence, each of which must be a command that exists."""

import numpy as np
import pytest

from gradclip import keys
from gradclip.advise.arms import controls, plain_remedies
from gradclip.advise.evidence import gather
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.findings import find
from gradclip.diagnosis.suggestions import suggest
from tests.support.evidence import made_run, made_telemetry

RAMP = np.arange(1.0, 101.0)


def changes_of(evidence: Evidence) -> list[tuple[str, ...]]:
    return [suggestion.changes for suggestion in suggest(evidence, evidence)]


def test_a_stable_run_is_advised_its_90th_percentile() -> None:
    assert changes_of(gather(made_run(), made_telemetry(RAMP))) == [("clip=norm", "clip.value=90")]


def test_a_mostly_clipped_run_is_advised_the_learning_rate_with_the_same_effect() -> None:
    run = made_run(clip="norm", value="5.0", fraction=0.96)
    evidence = gather(run, made_telemetry(RAMP, clipped=np.minimum(RAMP, 5)))
    first, second, *_ = changes_of(evidence)
    assert first == ("clip=norm", "clip.value=25", "schedule=warmup_cosine")  # half of 50.5
    rate = 0.01 * np.mean(np.minimum(RAMP, 5) / RAMP)
    assert second == ("clip=none", f"optimizer.lr={rate:.2g}")
    assert any("it acts like a smaller learning rate" in line for line in map(str, find(evidence)))


def test_a_threshold_at_which_steps_change_the_weights_too_much_is_lowered() -> None:
    run = made_run(clip="norm", value="5.0", fraction=0.96)
    telemetry = made_telemetry(RAMP, clipped=np.full(100, 5.0))
    telemetry = telemetry.assign(**{"update/norm/a": 0.5, "weight/norm/a": 10.0})  # 5% at norm 5
    assert changes_of(gather(run, telemetry))[0] == ("clip=norm", "clip.value=10", "schedule=warmup_cosine")


def test_a_threshold_that_never_clips_is_reported() -> None:
    evidence = gather(made_run(clip="norm", value="1000.0"), made_telemetry(RAMP))
    assert any("never clipped: the run equals one without clipping" in line for line in map(str, find(evidence)))
    assert changes_of(evidence)[0] == ("clip=norm", "clip.value=90")


def test_advice_on_an_exploded_run_uses_the_steps_before_and_mentions_the_probe() -> None:
    evidence = gather(made_run(outcome="diverged"), made_telemetry([4.0, 6.0, 5.0, 900.0, np.inf], target=550.0))
    suggested = changes_of(evidence)
    assert suggested[0] == ("clip=norm", "clip.value=2.5", "schedule=warmup_cosine")
    assert ("clip=none", "data.scale_target=standard") in suggested
    assert ("clip=none", "loss=huber") in suggested
    assert any("exploded after 3 of 5 steps" in line and "probe=true" in line for line in map(str, find(evidence)))


def test_norms_of_a_probe_replace_those_of_the_run() -> None:
    exploded = gather(made_run(outcome="diverged"), made_telemetry([4.0, 900.0]))
    probe = gather(made_run(clip="norm", fraction=1.0), made_telemetry(RAMP))
    assert suggest(probe, exploded)[0].changes == ("clip=norm", "clip.value=25", "schedule=warmup_cosine")


def test_a_probe_that_exploded_too_is_reported() -> None:
    exploded, probe = (gather(made_run(outcome="diverged"), made_telemetry([4.0, 5.0, 900.0])) for _ in range(2))
    assert any(line.startswith("The probe run exploded too, after 2 steps") for line in map(str, find(exploded, probe)))


def test_spikes_of_one_parameter_or_one_element_choose_the_method() -> None:
    loud = np.ones(100)
    loud[::10] = 50.0
    telemetry = made_telemetry(np.hypot(1, loud))
    by_tensor = telemetry.assign(**{f"{keys.GRAD_NORM}/head": loud, f"{keys.GRAD_NORM}/body": 1.0})
    assert changes_of(gather(made_run(), by_tensor))[0][0] == "clip=parameter_norm"
    by_element = telemetry.assign(**{keys.GRAD_MAX_ABS: 0.9 * telemetry[keys.GRAD_NORM]})
    assert changes_of(gather(made_run(), by_element))[0][0] == "clip=value"


def test_drifting_norms_suggest_a_threshold_that_follows_them() -> None:
    assert ("clip=auto", "clip.value=10") in changes_of(gather(made_run(), made_telemetry(np.geomspace(1, 1000, 100))))


def test_a_run_that_is_unstable_at_its_end_is_advised_learning_rate_decay() -> None:
    run = made_run()
    run.metrics.update({keys.MSE.final_test: 30.0, keys.MSE.best_test: 10.0})
    assert ("schedule=warmup_cosine",) in changes_of(gather(run, made_telemetry(RAMP)))


@pytest.mark.parametrize(("losses", "final", "overfits"), [
    (RAMP[::-1], 11.0, True),  # the test score rises from epoch 4 on, while the loss falls
    (RAMP[::-1], 10.0, False),
    (RAMP, 11.0, False),  # both rise: training is unstable
])  # fmt: skip
def test_a_run_that_overfits_is_advised_to_stop_at_its_best_epoch(
    losses: np.ndarray, final: float, overfits: bool
) -> None:
    run = made_run()
    run.metrics.update({keys.MSE.final_test: final, keys.MSE.best_test: 10.0, keys.BEST_EPOCH: 4.0})
    evidence = gather(run, made_telemetry(losses))
    assert (changes_of(evidence)[0] == ("trainer.max_epochs=4",)) is overfits
    finding = "The run overfits: the test score was best in epoch 4 and ended 10.0% worse"
    assert any(line.startswith(finding) for line in map(str, find(evidence))) is overfits


@pytest.mark.parametrize("clip", ["none", "norm", "value", "auto"])
@pytest.mark.parametrize("outcome", ["learned", "diverged"])
def test_every_suggestion_is_a_command_that_exists(clip: str, outcome: str) -> None:
    telemetry = made_telemetry(np.geomspace(1, 5000, 100), clipped=np.ones(100), target=500.0)
    evidence = gather(made_run(outcome, clip, fraction=0.9, model__initialization="he_uniform"), telemetry)
    base = [] if clip == "none" else [f"clip={clip}"]
    for suggestion in [*suggest(evidence, evidence), *controls(evidence), *plain_remedies(evidence)]:
        compose_config(merge(base, suggestion.changes))
