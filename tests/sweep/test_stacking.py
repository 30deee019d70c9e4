"""Jobs that differ only in numbers are stacked; a refusal names its reason."""

from pathlib import Path

import pytest

from gradclip.config.composition import compose_config
from gradclip.sweep.stacking import group, refusal
from gradclip.training.job import Job
from tests.support.torch_version import NEEDS_MUON


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("seed=0", "seed=1", True),
        ("clip.value=1", "clip.value=2", True),
        ("optimizer.lr=0.1", "optimizer.lr=0.01", True),
        ("optimizer.momentum=0.0", "optimizer.momentum=0.9", True),
        ("data.scale_target=none", "data.scale_target=standard", True),
        ("figures=false", "figures=true", True),
        ("clip.order=2", "clip.order=inf", False),
        ("clip=norm", "clip=value", False),
        ("optimizer=sgd", "optimizer=adam", False),
        ("model.widths=[25]", "model.widths=[26]", False),
        ("data.scale_inputs=none", "data.scale_inputs=standard", False),
        ("data.random_state=1", "data.random_state=2", False),
        ("trainer.batch_size=32", "trainer.batch_size=16", False),
        ("trainer.max_epochs=1", "trainer.max_epochs=2", False),
        ("clip.parameters=*", "clip.parameters=*weight", False),
        ("loss=mse", "loss=mae", False),
    ],
)
def test_jobs_that_differ_only_in_numbers_are_stacked(one: str, other: str, together: bool) -> None:
    jobs = [Job(compose_config(["clip=norm", override]), (override,), Path()) for override in (one, other)]
    assert group(jobs) == ([jobs] if together else [jobs[:1], jobs[1:]])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("clip=activation",), "clip=activation"),
        (("trainer.precision=bf16-mixed",), "trainer.precision=bf16-mixed"),
        pytest.param(("optimizer=muon",), "optimizer=muon", marks=NEEDS_MUON),
        (("trainer=ddp",), "several processes"),
        (("data=adding", "model.layers=2", "model.dropout=0.1"), "model.dropout"),
        (("tracking.system_metrics=true",), "tracking.system_metrics"),
    ],
)
def test_a_refusal_to_stack_names_its_reason(overrides: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(compose_config(overrides))
    assert refusal(compose_config([])) == ""
