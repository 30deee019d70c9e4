"""Known evidence gives the expected suggestions, and each is a valid command."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from gradclip import keys
from gradclip.advise.arms import controls, plain_remedies
from gradclip.advise.evidence import gather
from gradclip.advise.report import advice_message
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.findings import find
from gradclip.diagnosis.probe_results import ORIGINAL_SETTINGS, ProbeResult
from gradclip.diagnosis.remedy import NO_CLIPPING, Remedy, clip_norm
from gradclip.diagnosis.suggestions import suggest
from gradclip.scores import ACCURACY, MSE, Score
from tests.support.evidence import made_run, made_telemetry

RAMP = np.arange(1.0, 101.0)


def changes_of(evidence: Evidence) -> list[tuple[str, ...]]:
    return [suggestion.changes for suggestion in suggest(evidence, evidence)]


def test_a_run_with_spikes_is_advised_to_clip_at_its_90th_percentile() -> None:
    spiking = np.append(RAMP, 900.0)
    assert changes_of(gather(made_run(), made_telemetry(spiking))) == [("clip=norm", "clip.value=91")]


@pytest.mark.parametrize("outcome", ["learned", "stalled"])
def test_clipping_is_not_advised_for_calm_gradients(outcome: str) -> None:
    evidence = gather(made_run(outcome), made_telemetry(RAMP))
    assert changes_of(evidence) == []
    stalled = "Its gradients neither explode nor spike, so clipping will not help."
    assert any(line.endswith(stalled) for line in map(str, find(evidence))) is (outcome == "stalled")


def test_a_mostly_clipped_run_is_advised_a_learning_rate_with_the_same_effect() -> None:
    run = made_run(clip="norm", value="5.0", fraction=0.96)
    evidence = gather(run, made_telemetry(RAMP, clipped=np.minimum(RAMP, 5)))
    first, second, *_ = changes_of(evidence)
    assert first == ("clip=norm", "clip.value=25", "schedule=warmup_cosine")  # half of 50.5
    rate = 0.01 * np.mean(np.minimum(RAMP, 5) / RAMP)
    assert second == ("clip=none", f"optimizer.lr={rate:.2g}")
    assert any("it acts like a smaller learning rate" in line for line in map(str, find(evidence)))


@pytest.mark.parametrize(("outcome", "fraction"), [("finished", 0.96), ("diverged", 0.1)])
def test_a_users_module_is_advised_lower_thresholds_in_place_of_a_schedule(outcome: str, fraction: float) -> None:
    run = made_run(outcome, "norm", fraction=fraction, module___target_="my.Module", schedule__name="")
    evidence = gather(run, made_telemetry([4.0, 6.0, 5.0] * 4 + ([] if outcome == "finished" else [900.0, np.inf])))
    assert changes_of(evidence) == [("clip=norm", "clip.value=0.025,0.25,2.5")]
    assert advice_message(evidence, None, 3).startswith("Try clipping by the norm, at several thresholds:")


def test_a_threshold_at_which_steps_change_the_weights_too_much_is_lowered() -> None:
    run = made_run(clip="norm", value="5.0", fraction=0.96)
    telemetry = made_telemetry(RAMP, clipped=np.full(100, 5.0))
    telemetry = telemetry.assign(**{"update/norm/a": 0.5, "weight/norm/a": 10.0})  # an update of 5% at a norm of 5
    assert changes_of(gather(run, telemetry))[0] == ("clip=norm", "clip.value=10", "schedule=warmup_cosine")


def test_a_threshold_that_never_clips_is_reported() -> None:
    run = made_run(clip="norm", value="1000.0")
    evidence = gather(run, made_telemetry(np.append(RAMP, 900.0)))
    (never,) = [one for one in find(evidence) if "never changed a gradient: the run is the same as without" in str(one)]
    assert never.is_problem
    assert changes_of(evidence)[0] == ("clip=norm", "clip.value=91")
    calm = gather(run, made_telemetry(RAMP))
    assert [one.is_problem for one in find(calm) if one.kind == never.kind] == [False]
    assert changes_of(calm) == []


def test_advice_on_an_exploded_run_uses_the_steps_before_the_explosion() -> None:
    norms = [4.0, 6.0, 5.0] * 4
    evidence = gather(made_run(outcome="diverged"), made_telemetry([*norms, 900.0, np.inf], target=550.0))
    suggested = changes_of(evidence)
    assert suggested[0] == ("clip=norm", "clip.value=2.5", "schedule=warmup_cosine")
    assert ("clip=none", "data.scale_target=standard") in suggested
    assert ("clip=none", "loss=huber") in suggested
    assert any("exploded after 12 of 14 steps" in line for line in map(str, find(evidence)))


def test_a_threshold_is_not_chosen_from_too_few_steps() -> None:
    evidence = gather(made_run(outcome="diverged"), made_telemetry([4.0, 6.0, 5.0, 900.0, np.inf], target=550.0))
    thresholds, loss, scaled, slower, *_ = suggest(evidence, evidence)  # in the order of the explosion report
    assert thresholds.changes == ("clip=norm", "clip.value=0.004,0.04,0.4")
    assert loss.changes == ("clip=none", "loss=huber")
    assert scaled.changes == ("clip=none", "data.scale_target=standard")
    assert slower.changes == ("optimizer.lr=0.001",)
    assert "a guess and may diverge again" in slower.why
    assert not thresholds.has_one_setting
    assert any("after 3 of 5 steps" in line and "not enough to choose" in line for line in map(str, find(evidence)))


@pytest.mark.parametrize(("target", "is_suggested"), [(1e6, True), (3e-4, True), (2.5, False), (0.9, False)])
def test_a_scaled_target_is_suggested_if_the_target_is_far_from_one(target: float, is_suggested: bool) -> None:
    suggested = changes_of(gather(made_run(), made_telemetry(RAMP, target=target)))
    assert (("clip=none", "data.scale_target=standard") in suggested) is is_suggested


def made_result(what: str, *errors: float, learned: int = 3) -> ProbeResult:
    how = clip_norm(what.split()[2].rstrip(",")) if what.startswith("norm") else NO_CLIPPING
    return ProbeResult(
        Remedy(what, "", how), what.startswith("norm"), errors, learned, f"MSE {errors[0]:g} on the rows"
    )


def test_measurements_of_a_probe_take_precedence_over_rules_of_thumb() -> None:
    exploded = gather(made_run(outcome="diverged"), made_telemetry([4.0, 900.0], target=550.0))
    results = (
        made_result("norm at 5", 10.0, 9.0, 11.0), made_result("norm at 50", 12.0, 12.0, 12.0),
        made_result("scaled target", 10.5, 10.0, 11.0), made_result("a tenth", 1.0, 1.0, np.inf),
        made_result("Adam", 2.0, 2.0, 2.0, learned=1),
    )  # fmt: skip
    probe = replace(gather(made_run(clip="norm", fraction=1.0), made_telemetry(RAMP)), probe_results=results)
    first, second, *others = suggest(probe, exploded)
    assert [first.what, second.what] == ["scaled target", "norm at 5"]
    assert "no clipping is needed: the best clipped setting, norm at 5, reaches MSE 10" in first.why
    assert [one.what for one in others] == ["another loss"]
    assert others[0].why.endswith("not tried by the probe")
    (finding,) = [one for one in find(exploded, probe) if one.kind == "probe"]
    assert str(finding) == (
        "A probe tried 5 settings. These diverged: a tenth. These learned nothing: Adam. The norms below "
        "are from its best clipped run."
    )


def test_many_thresholds_that_learned_nothing_are_named_as_a_range() -> None:
    run = gather(made_run(), made_telemetry(RAMP))
    values = ("10", "0.1", "1", "100")
    stalled = [made_result(f"norm at {value}, with warm-up and cosine decay", 9.0, learned=0) for value in values]
    results = (*stalled, made_result("Adam", 9.0, learned=0), made_result("a tenth", 1.0))
    (finding,) = [one for one in find(run, replace(run, probe_results=results)) if one.kind == "probe"]
    named = "norm at 4 thresholds from 0.1 to 100, with warm-up and cosine decay; Adam."
    assert f" These learned nothing: {named} " in str(finding)


def test_a_probe_suggests_no_threshold_for_calm_gradients() -> None:
    calm = gather(made_run(outcome="stalled"), made_telemetry(np.linspace(0.5, 1.0, 40).tolist()))
    probe = gather(made_run(clip="norm", fraction=1.0), made_telemetry(RAMP))
    assert not any("clip=norm" in one.changes for one in suggest(probe, calm))


def test_a_setting_that_does_worse_than_the_original_settings_is_not_suggested() -> None:
    original = ProbeResult(ORIGINAL_SETTINGS, False, (9.0,), 1, "MSE 9")
    run = gather(made_run(), made_telemetry(RAMP))
    probe = replace(run, probe_results=(original, made_result("norm at 5", 20.0, learned=1)))
    assert suggest(probe, run) == []
    (finding,) = [one for one in find(run, probe) if one.kind == "probe"]
    assert " None of them is better than the original settings." in str(finding)
    better = replace(run, probe_results=(original, made_result("norm at 5", 2.0, learned=1)))
    assert [one.what for one in suggest(better, run)] == ["norm at 5"]


def test_a_probe_in_which_nothing_helps_is_reported() -> None:
    exploded = gather(made_run(outcome="diverged"), made_telemetry([4.0, 900.0]))
    on_test = replace(exploded, training=replace(exploded.training, chosen_on="test"))
    probe = replace(on_test, probe_results=(made_result("norm at 5", np.inf, learned=0),))
    found = find(exploded, probe)
    (finding,) = [one for one in found if one.kind == "probe"]
    assert finding.is_problem
    assert not any(str(one).startswith("Chosen on") for one in found)
    assert str(finding).endswith("None of them helps: check the data and the initialization.")


def test_a_probe_in_which_nothing_learned_suggests_longer_training() -> None:
    run = gather(made_run(), made_telemetry(RAMP))
    (finding,) = [
        one
        for one in find(run, replace(run, probe_results=(made_result("norm at 5", 20.0, learned=0),)))
        if one.kind == "probe"
    ]
    assert str(finding).endswith("None of them helps: train for more epochs, or check the data and the initialization.")


def test_the_best_finite_setting_is_advised_if_no_setting_learned() -> None:
    exploded = gather(made_run(outcome="diverged"), made_telemetry([4.0, 900.0]))
    results = (
        made_result("norm at 5", 8.0, 7.0, 6.0, learned=0), made_result("a tenth", 6.0, 6.0, 6.0, learned=0),
        made_result("Adam", 7.0, 7.0, 7.0, learned=1), made_result("a hundredth", 1.0, 1.0, np.inf),
    )  # fmt: skip
    (advice,) = suggest(replace(exploded, probe_results=results), exploded)
    assert advice.what == "Adam", "one seed of it learned"
    assert advice.why.startswith("MSE 7 on the rows; none of the settings tried learned anything by then")
    (advice,) = suggest(replace(exploded, probe_results=results[:2]), exploded)
    assert advice.what == "a tenth"
    finite = gather(made_run("stalled", "norm", fraction=1.0), made_telemetry(RAMP))
    assert suggest(replace(finite, probe_results=results), finite) == [], "the run did not diverge either"


def test_norms_of_a_probe_replace_those_of_the_run() -> None:
    exploded = gather(made_run(outcome="diverged"), made_telemetry([4.0, 900.0]))
    probe = gather(made_run(clip="norm", fraction=1.0), made_telemetry(RAMP))
    assert suggest(probe, exploded)[0].changes == ("clip=norm", "clip.value=25", "schedule=warmup_cosine")


def test_a_clipped_run_that_exploded_is_not_advised_to_train_unclipped_with_equally_long_steps() -> None:
    norms = [*range(10, 40), *np.geomspace(1e3, 1e9, 10)]
    evidence = gather(made_run("stalled", "value", fraction=0.6), made_telemetry(norms, clipped=np.minimum(norms, 30)))
    assert evidence.exploded
    assert "smaller learning rate, no clipping" not in [one.what for one in suggest(evidence, evidence)]


def test_a_probe_that_exploded_too_is_reported() -> None:
    exploded, probe = (gather(made_run(outcome="diverged"), made_telemetry([4.0, 5.0, 900.0])) for _ in range(2))
    found = [str(one) for one in find(exploded, probe)]
    reason = "Fewer than 10 steps are not enough to choose a threshold."
    assert f"The probe run exploded too, after 2 steps. {reason}" in found


def test_spikes_of_one_parameter_or_one_element_choose_the_method() -> None:
    loud = np.ones(100)
    loud[::10] = 50.0
    telemetry = made_telemetry(np.hypot(1, loud))
    by_tensor = telemetry.assign(**{f"{keys.GRAD_NORM}/head": loud, f"{keys.GRAD_NORM}/body": 1.0})
    assert changes_of(gather(made_run(), by_tensor))[0][0] == "clip=parameter_norm"
    by_element = telemetry.assign(**{keys.GRAD_MAX_ABS: 0.9 * telemetry[keys.GRAD_NORM]})
    assert changes_of(gather(made_run(), by_element))[0][0] == "clip=value"
    clipped = made_run(clip="norm", fraction=1.0)  # its usual norms are far too large as thresholds
    for spiking in (by_tensor, by_element):
        first = {one[0] for one in changes_of(gather(clipped, spiking))}
        assert "clip=norm" in first
        assert not first & {"clip=parameter_norm", "clip=value"}


def test_drifting_norms_suggest_a_threshold_that_follows_them() -> None:
    assert ("clip=auto", "clip.value=10") in changes_of(gather(made_run(), made_telemetry(np.geomspace(1, 1000, 100))))


@pytest.mark.parametrize(("outcome", "line"), [
    ("learned", "Nothing to change in the clipping: the run learned, and its gradients neither exploded nor spiked."),
    ("stalled", "Nothing to try: no known remedy applies to the findings."),
])  # fmt: skip
@pytest.mark.parametrize("clip", ["none", "norm"])
def test_a_run_that_neither_exploded_nor_spiked_gets_no_suggestions(clip: str, outcome: str, line: str) -> None:
    falling = made_telemetry(np.geomspace(1000, 1, 100))
    uneven = falling.assign(**{f"{keys.GRAD_NORM}/{name}": falling[keys.GRAD_NORM] / part for name, part in TENSORS})
    evidence = gather(made_run(outcome, clip, fraction=0.3), uneven)
    kinds = {finding.kind for finding in find(evidence)}
    assert kinds > {"drift", "one tensor dominates"}
    assert advice_message(evidence, None, 3).splitlines()[0] == line
    assert suggest(evidence, evidence) == []


TENSORS = [("head", 1), ("a", 100), ("b", 100)]


def test_a_run_that_is_unstable_at_its_end_is_advised_learning_rate_decay() -> None:
    run = made_run()
    run.metrics.update({MSE.final("test"): 30.0, MSE.best("test"): 10.0})
    assert ("schedule=warmup_cosine",) in changes_of(gather(run, made_telemetry(RAMP)))


FALLING, RISING = RAMP[::-1], RAMP


@pytest.mark.parametrize(("score", "losses", "split", "final", "rank"), [
    (MSE, FALLING, "validation", 13.0, "last"),
    (MSE, FALLING, "validation", 16.0, "first"),
    (MSE, FALLING, "validation", 10.1, "none"),  # within the noise of one run
    (MSE, FALLING, "test", 13.0, "none"),  # the limit is higher if the test rows chose
    (MSE, FALLING, "test", 16.0, "first"),
    (MSE, RISING, "validation", 16.0, "none"),  # the training loss rises too: unstable, not overfitting
    (ACCURACY, FALLING, "validation", 0.80, "first"),
    (ACCURACY, FALLING, "validation", 0.94, "none"),
])  # fmt: skip
@pytest.mark.parametrize("outcome", ["learned", "stalled"])  # stalled: predicts worse than the mean on validation rows
def test_fewer_epochs_are_advised_if_a_run_overfits_beyond_noise(
    score: Score, losses: np.ndarray, split: Literal["validation", "test"], final: float, rank: str, outcome: str
) -> None:
    run, best = made_run(outcome), 10.0 if score == MSE else 0.95
    run.metrics.update({score.final("test"): final, score.final(split): final, score.best(split): best})
    run.metrics[keys.BEST_EPOCH] = 4.0
    evidence = gather(run, made_telemetry(losses))
    fewer = ("trainer.max_epochs=4",)
    ranks = {"first": changes_of(evidence)[:1], "last": changes_of(evidence)[-1:], "none": [fewer]}
    assert ranks[rank] == [fewer]
    assert (fewer in changes_of(evidence)) is (rank != "none")
    found = [str(finding) for finding in find(evidence)]
    assert any(f"the {split} score was best in epoch 4" in line for line in found) is (rank != "none")
    assert any(line.startswith("Chosen on the test rows") for line in found) is (rank != "none" and split == "test")


@pytest.mark.parametrize(("norms", "is_advised"), [
    (np.geomspace(1000, 1, 100), False),  # the training converges
    (np.append(1000.0, np.ones(99)), True),
])  # fmt: skip
def test_another_initialization_is_advised_if_the_first_norm_is_far_above_the_next(
    norms: np.ndarray, is_advised: bool
) -> None:
    run = made_run("stalled", "norm", fraction=0.9, model__initialization="he_uniform")
    found = changes_of(gather(run, made_telemetry(norms, clipped=np.minimum(norms, 1))))
    assert (("model.initialization=pytorch",) in found) is is_advised


@pytest.mark.parametrize(("wrong", "rows", "is_advised"), [
    (1, 27, False), (3, 27, False), (4, 27, True),
    (4, 500, False),  # less than 1% of the rows
    (10, 500, True),
    (60, 10, True),  # impossible, but a store may contain it
])  # fmt: skip
def test_a_few_more_wrong_predictions_do_not_count_as_overfitting(wrong: int, rows: int, is_advised: bool) -> None:
    final = 1 - wrong / rows
    metrics = {ACCURACY.final("validation"): final, ACCURACY.final("test"): final, keys.BEST_EPOCH: 4.0}
    run = replace(made_run(), rows={"validation": rows})
    run.metrics.update(metrics | {ACCURACY.best("validation"): 1.0})
    found = changes_of(gather(run, made_telemetry(FALLING)))
    assert found[:1] == ([("trainer.max_epochs=4",)] if is_advised else [])


@pytest.mark.parametrize(("score", "final", "rows", "is_reported"), [
    (ACCURACY, 0.64, 500, True), (ACCURACY, 0.92, 500, False),
    (ACCURACY, 0.88, 25, False),  # three wrong predictions may be chance
    (MSE, 0.64, 500, False),  # the scale of the target is not known
])  # fmt: skip
def test_a_large_gap_between_training_and_validation_accuracy_is_reported_without_a_remedy(
    score: Score, final: float, rows: int, is_reported: bool
) -> None:
    run = replace(made_run(), rows={"validation": rows})
    run.metrics.update({score.final("train"): 1.0, score.final("validation"): final, score.best("validation"): final})
    evidence = gather(run, made_telemetry(RAMP))
    scores = "Train: 100.0% right, Validation: 64.0% right"
    expected = [f"The run fits the training rows much better than the validation rows: {scores}."]
    found = [str(finding) for finding in find(evidence) if finding.kind == "gap to training rows"]
    assert found == (expected if is_reported else [])
    assert suggest(evidence, evidence) == []


def test_learning_rate_decay_is_advised_for_unstable_accuracy() -> None:
    run = made_run()
    run.metrics.update({ACCURACY.final("validation"): 0.6, ACCURACY.best("validation"): 0.9})
    run.metrics[ACCURACY.final("test")] = 0.6
    evidence = gather(run, made_telemetry(RAMP))
    (decay,) = suggest(evidence, evidence)
    assert decay.changes == ("schedule=warmup_cosine",)
    assert decay.why == "the final validation error is 3 times the best one: training is unstable at its end"


@pytest.mark.parametrize("clip", ["none", "norm", "value", "auto"])
@pytest.mark.parametrize("outcome", ["learned", "diverged"])
def test_every_suggestion_is_a_valid_command(clip: str, outcome: str) -> None:
    telemetry = made_telemetry(np.geomspace(1, 5000, 100), clipped=np.ones(100), target=500.0)
    evidence = gather(made_run(outcome, clip, fraction=0.9, model__initialization="he_uniform"), telemetry)
    base = [] if clip == "none" else [f"clip={clip}"]
    for suggestion in [*suggest(evidence, evidence), *controls(evidence), *plain_remedies(evidence)]:
        compose_config(merge(base, suggestion.changes))
