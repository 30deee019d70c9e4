"""A confirmation trains the advice, the plain remedies and the control arms, and no two arms that train alike."""

import numpy as np
import pytest

from gradclip.advise.arms import (
    ADVISED,
    ADVISED_UNCLIPPED,
    CLIPPING,
    ORIGINAL,
    Arm,
    arms,
    control_of_advice,
    controls,
    plain_remedies,
)
from gradclip.advise.evidence import gather
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.remedy import Remedy, clip_norm
from gradclip.diagnosis.suggestions import UNCLIPPED_EQUIVALENT
from gradclip.scores import ACCURACY
from tests.support.evidence import made_run, made_telemetry

RAMP = np.arange(1.0, 101.0)
ADVICE = Remedy("norm", "", clip_norm("7"))


def clipped(target: float = 50.0, **settings: str) -> Evidence:
    run = made_run(clip="norm", fraction=1.0, **settings)
    return gather(run, made_telemetry(RAMP, clipped=np.ones(100), target=target), ["clip=norm"])


@pytest.mark.parametrize("target", [1e-4, 50.0])
def test_the_arms_are_the_advice_plain_remedies_and_controls(target: float) -> None:
    assert [arm.overrides for arm in arms(clipped(target), [ADVICE])] == [
        ("clip=norm",),
        ("clip=norm", "clip.value=7"),
        ("clip=none", "data.scale_target=standard"),
        ("clip=none", "optimizer.lr=0.001"),
        ("clip=none", "optimizer.lr=0.0001"),
        ("clip=none", "optimizer=adam"),
        ("clip=none", "optimizer.lr=0.00052"),
        ("clip=normalize", "clip.value=1.0"),
    ]


def test_a_target_that_is_already_scaled_or_cannot_be_scaled_is_not_scaled() -> None:
    for scaling in ("standard", ""):
        assert "scaled target" not in [remedy.what for remedy in plain_remedies(clipped(data__scale_target=scaling))]


def test_the_target_of_a_classification_is_not_scaled() -> None:
    run = made_run(outcome="diverged")
    run.metrics[ACCURACY.final("test")] = np.nan
    assert "scaled target" not in [remedy.what for remedy in plain_remedies(gather(run, made_telemetry(RAMP)))]


def test_a_users_module_keeps_its_optimizer() -> None:
    own = {"module._target_": "own.Module"}
    assert [remedy.what for remedy in plain_remedies(clipped(**own))] == ["scaled target"]


def test_only_a_clipped_run_has_control_arms() -> None:
    assert [control.what for control in controls(clipped())] == [UNCLIPPED_EQUIVALENT, "always normalized"]
    assert controls(gather(made_run(), made_telemetry(RAMP))) == []
    assert controls(gather(made_run(clip="norm", value="1000.0", fraction=0.0), made_telemetry(RAMP))) == []


def test_no_two_arms_train_alike() -> None:
    same = gather(made_run(clip="norm", value="7.0", fraction=0.1), made_telemetry(RAMP), ["clip=norm", "clip.value=7"])
    assert [arm.name for arm in arms(same, [ADVICE])][:2] == [ORIGINAL, "scaled target"]
    unclipped = gather(made_run(), made_telemetry(RAMP), ["clip=none", "clip.value=3", "optimizer.lr=0.001"])
    advice = [Remedy("scaled", "", plain_remedies(unclipped)[0].how), ADVICE, Remedy("other", "", clip_norm("8"))]
    found = arms(unclipped, advice)
    assert [arm.name for arm in found][:3] == [ORIGINAL, ADVISED, CLIPPING]
    assert found[2].overrides == ("optimizer.lr=0.001", "clip=norm", "clip.value=7")
    assert "scaled target" not in [arm.name for arm in found]


def test_the_control_of_advice_has_the_learning_rate_of_its_steps_and_repeats_no_other_arm() -> None:
    run = made_run(clip="norm", value="2.0", fraction=1.0)
    evidence = gather(run, made_telemetry(np.full(10, 4.0), clipped=np.full(10, 2.0)))
    (arm,) = control_of_advice(evidence, [])
    assert arm == Arm(ADVISED_UNCLIPPED[UNCLIPPED_EQUIVALENT], ("clip=none", "optimizer.lr=0.005"))
    same = Arm(UNCLIPPED_EQUIVALENT, ("clip=none", "clip.value=3", "optimizer.lr=0.005"))
    assert control_of_advice(evidence, [same]) == []
    assert control_of_advice(gather(made_run(), made_telemetry(np.ones(10))), []) == []


def test_the_control_arm_of_adam_keeps_the_learning_rate() -> None:
    run = made_run(clip="norm", value="2.0", fraction=1.0, optimizer="adam")
    evidence = gather(run, made_telemetry(np.full(10, 4.0), clipped=np.full(10, 2.0)))
    assert control_of_advice(evidence, []) == [Arm("advised, but unclipped", ("clip=none",))]
