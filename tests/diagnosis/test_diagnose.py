"""Each finding is made for a log that shows it, and not for a near miss."""

import json
from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
import pytest

from gradclip.diagnosis.diagnose import diagnose
from gradclip.errors import DataError
from gradclip.telemetry.record import GradientRecord
from tests.support.records import make_record

STEPS = 200
CALM = np.exp(0.3 * np.sin(np.arange(STEPS) * 0.7))  # 0.74 to 1.35
Log = Mapping[str, Any]


def log(norm: Any = CALM, **columns: Any) -> dict[str, Any]:
    return {"step": np.arange(STEPS), "grad_norm": norm, **columns}


def replaced(step: int, value: float) -> np.ndarray:
    norms = CALM.copy()
    norms[step] = value
    return norms


def clipped(coefficient: Any) -> dict[str, Any]:
    return log(grad_norm_clipped=CALM * coefficient)


def layered(share: float, tensors: int) -> dict[str, Any]:
    rest = np.sqrt((1 - share) / (tensors - 1))
    norms = {f"grad_norm/{number}": CALM * rest for number in range(tensors - 1)}
    return log() | norms | {"grad_norm/head": CALM * np.sqrt(share)}


def problems(log: Log, **known: Any) -> set[str]:
    return {finding.kind for finding in diagnose(log, **known).findings if finding.is_problem}


UPWARD = np.geomspace(1, 3, STEPS)
SCALES = np.repeat([64.0, 128.0, 64.0, 32.0], STEPS // 4)
OTHERS = np.repeat([64.0, 128.0, 360.0, 32.0], STEPS // 4)
UPDATES = {"update/ratio/w": np.full(STEPS, 1e-7)}

CASES: dict[str, tuple[str, tuple[Log, dict[str, Any]], tuple[Log, dict[str, Any]]]] = {
    "diverged": ("explosion", (log(replaced(-1, np.nan)), {}), (log(replaced(100, np.nan)), {})),
    "grows without bound": ("explosion", (log(np.geomspace(1, 1e9, STEPS)), {}), (log(UPWARD), {})),
    "all zero": ("zero gradients", (log(np.zeros(STEPS)), {}), (log(np.full(STEPS, np.nan)), {})),
    "none finite": ("no finite gradient", (log(np.full(STEPS, np.nan)), {}), (log(np.zeros(STEPS)), {})),
    "spike": ("spikes", (log(replaced(100, 30.0)), {}), (log(replaced(0, 30.0)), {})),
    "after clipping": ("clipped norms", (log(np.minimum(CALM, 1.0)), {}), (log(), {})),
    "after clipping, always": ("clipped norms", (log(np.ones(STEPS)), {}), (clipped(0.5) | {"grad_norm": CALM}, {})),
    "after clipping, rounded": ("clipped norms", (log(np.minimum(CALM, 1.0).round(2)), {}), (log(CALM.round(1)), {})),
    "never reached": ("threshold never reached", (log(), {"max_norm": 5.0}), (log(), {"max_norm": 1.0})),
    "mostly clipped": ("mostly clipped", (clipped(0.5), {}), (clipped(np.where(CALM > 1.2, 0.5, 1)), {})),
    "muon": ("inert clipping", (clipped(np.where(CALM > 1.2, 0.5, 1)), {"optimizer": "Muon"}),
             (clipped(np.where(CALM > 1.2, 0.5, 1)), {"optimizer": "SGD"})),
    "adam, constant coefficient": ("inert clipping", (clipped(0.1), {"optimizer": "AdamW"}),
                                   (clipped(0.1 / UPWARD), {"optimizer": "AdamW"})),
    "lion": ("inert clipping", (clipped(0.9), {"optimizer": "Lion"}), (clipped(1.0), {"optimizer": "Lion"})),
    "epsilon": ("epsilon", (clipped(1e-6), {"optimizer": "adam", "elements": 10**6}),
                (clipped(2e-5), {"optimizer": "adam", "elements": 10**6})),
    "epsilon, by the largest element": ("epsilon", (log(grad_max_abs=CALM * 1e-3, grad_norm_clipped=CALM * 1e-6),
                                                    {"optimizer": "adam"}),
                                        (log(grad_max_abs=CALM, grad_norm_clipped=CALM * 1e-6), {"optimizer": "adam"})),
    "vanishing, estimated": ("vanishing updates", (clipped(1e-4), {}), (clipped(0.01), {})),
    "vanishing, all zero": ("vanishing updates", (clipped(0.0), {}), (clipped(0.0), {"optimizer": "adam"})),
    "vanishing, measured": ("vanishing updates", (clipped(0.01) | UPDATES, {}), (clipped(0.5) | UPDATES, {})),
    "loss scale": ("loss scale", (log(SCALES), {}), (log(OTHERS), {})),
    "a single jump": ("loss scale", (log(SCALES * CALM**0.1), {}), (log(np.repeat([64.0, 128.0], STEPS // 2)), {})),
    "one tensor": ("one tensor dominates", (layered(0.95, 4), {}), (layered(0.85, 4), {})),
    "one of two tensors": ("one tensor dominates", (layered(0.95, 3), {}), (layered(0.95, 2), {})),
    "drift": ("drift", (log(np.geomspace(1, 40, STEPS)), {}), (log(np.geomspace(40, 1, STEPS)), {})),
    "one element": ("largest element", (log(grad_max_abs=0.8 * CALM), {}), (log(grad_max_abs=0.6 * CALM), {})),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_finding_is_made_but_not_for_a_near_miss(case: str) -> None:
    kind, (example, known), (near_miss, known_of_near_miss) = CASES[case]
    assert kind in problems(example, **known)
    assert kind not in problems(near_miss, **known_of_near_miss)


def test_norms_of_zero_are_not_taken_for_clipped_norms() -> None:
    assert problems(log(np.zeros(STEPS))) == {"zero gradients"}


def test_a_calm_log_is_healthy() -> None:
    diagnosis = diagnose(log(), optimizer="adamw", max_norm=1.0)
    assert diagnosis.is_healthy
    assert diagnosis.remedies


def test_falling_norms_suggest_a_threshold_that_follows_them_only_if_there_is_a_threshold() -> None:
    falling = log(np.geomspace(40, 1, STEPS))
    assert diagnose(falling).remedies == ()
    assert "threshold that follows the norms" in [one.what for one in diagnose(falling, max_norm=30.0).remedies]


def test_no_learning_rate_of_zero_is_suggested_if_every_gradient_is_clipped_to_zero() -> None:
    assert "smaller learning rate, no clipping" in [one.what for one in diagnose(clipped(0.5)).remedies]
    assert "smaller learning rate, no clipping" not in [one.what for one in diagnose(clipped(0.0)).remedies]


def test_the_share_of_the_largest_element_is_reported_only_if_it_dominates() -> None:
    assert "largest element" not in [finding.kind for finding in diagnose(log(grad_max_abs=0.6 * CALM)).findings]


def test_findings_that_need_norms_before_clipping_are_omitted_without_them() -> None:
    diagnosis = diagnose(log(np.minimum(CALM, 1.0)))
    assert [finding.kind for finding in diagnosis.findings] == ["steps", "clipped norms"]
    assert [remedy.what for remedy in diagnosis.remedies] == ["log norms before clipping"]


@pytest.mark.parametrize(("log", "known", "what"), [
    (clipped(np.where(CALM > 1.2, 0.5, 1)), {"optimizer": "muon"}, "no clipping"),
    (clipped(1e-6), {"optimizer": "adam", "elements": 10**6}, "smaller epsilon"),
    (log(SCALES), {}, "unscale gradients first"),
    (layered(0.95, 4), {}, "clipping each tensor separately"),
    (clipped(0.5), {"learning_rate": 0.1}, "smaller learning rate, no clipping"),
    (clipped(0.5), {}, "smaller learning rate, no clipping"),
])  # fmt: skip
def test_remedies_for_torch_and_lightning_are_valid_python(log: Log, known: dict[str, Any], what: str) -> None:
    remedies = {remedy.what: remedy for remedy in diagnose(log, **known).remedies}
    for lines in (remedies[what].how.torch, remedies[what].how.lightning):
        compile("\n".join(lines), "remedy", "exec")
        assert not any("clip.value" in line for line in lines)


def test_a_record_is_diagnosed_from_all_its_columns() -> None:
    norms = np.column_stack([CALM, CALM])
    diagnosis = diagnose(
        make_record(norms, norms_clipped=norms / 2), optimizer="sgd", learning_rate=0.1, loop="lightning"
    )
    assert "mostly clipped" in [finding.kind for finding in diagnosis.findings]
    assert all("tensor" not in what and "before clipping" not in what for what in diagnosis.unknown)
    assert "Trainer(gradient_clip_val=" in str(diagnosis)


def test_a_record_is_not_suspected_of_a_changed_loss_scale() -> None:
    assert "loss scale" not in [finding.kind for finding in diagnose(make_record(SCALES, ("w",))).findings]


def test_a_record_without_steps_is_healthy() -> None:
    diagnosis = diagnose(GradientRecord.empty(("weight",)))
    assert diagnosis.is_healthy
    assert "No step was logged." in str(diagnosis)


@pytest.mark.parametrize(("last", "skipped", "kinds"), [
    (np.nan, True, []), (np.inf, True, ["norms that are not finite"]), (np.inf, False, ["explosion"]),
])  # fmt: skip
def test_a_skipped_step_is_not_an_explosion(last: float, skipped: bool, kinds: list[str]) -> None:
    norms = np.append(CALM, last)
    nonfinite = np.append(np.zeros(STEPS), np.nan if np.isnan(last) else 1)
    record = make_record(norms, ("w",), nonfinite=nonfinite, skipped=[*[False] * STEPS, skipped])
    found = [finding.kind for finding in diagnose(record).findings]
    assert [kind for kind in found if kind in {"explosion", "norms that are not finite"}] == kinds


def test_the_norms_of_a_thousand_tensors_are_diagnosed_quickly() -> None:
    norm = np.tile(CALM, 100)
    data = {"step": np.arange(len(norm)), "grad_norm": norm} | {f"grad_norm/{name}": norm / 32 for name in range(1000)}
    start = process_time()
    assert diagnose(data).is_healthy
    assert process_time() - start < 10


def test_the_json_is_complete_and_has_no_nan() -> None:
    assert json.loads(diagnose(log(), max_norm=np.nan).to_json())["is_healthy"] is True
    content = json.loads(diagnose(log(), max_norm=100.0).to_json())  # never reached
    assert {"kind", "text", "numbers", "is_problem"} == set(content["findings"][0])
    assert content["remedies"][0]["how"]["torch"] == ["torch.nn.utils.clip_grad_norm_(model.parameters(), 1.3)"]


def test_unknowns_depend_on_the_given_columns_and_settings() -> None:
    few = diagnose(log()).unknown
    more = diagnose(clipped(0.5) | layered(0.5, 3) | UPDATES, optimizer="sgd", learning_rate=0.1).unknown
    assert len(few) == 6
    assert more == ()


def test_an_unknown_loop_is_refused() -> None:
    with pytest.raises(DataError, match=r"^loop: got 'jax'; choose from command, lightning, torch, watch$"):
        diagnose(log(), loop="jax")  # type: ignore[arg-type]


@pytest.mark.parametrize(("log", "message"), [
    ({"grad_norm": [1.0]}, "got no column of steps; name one of grad_norm with step_column=..."),
    ({"a\nb": [1.0]}, r"got no column of steps; name one of a\\nb with step_column="),
    ({"step": [1]}, "got no column of gradient norms"),
    ({}, "got no column of steps; it is empty$"),
    ({"step": [1], "grad_norm": [None]}, "column 'grad_norm' has no rows with a number"),
    ({"step": [None], "grad_norm": [1.0]}, "column 'step': a step is missing"),
    ({"step": [1], "a/grad_norm": [1.0], "b - grad_norm": [2.0], "c - grad_norm": [2.0]}, "got several columns"),
    ({"step": [1], "grad_norm": ["x"]}, "column 'grad_norm', row 1: got 'x'; must be a number"),
    ({"step": [1, 2], "grad_norm": [1.0]}, r"column 'step': got values of shape \(2,\); must be one number for"),
    ({"step": [1], "grad_norm": [[1.0]]}, r"column 'grad_norm': got values of shape \(1, 1\); must be one number"),
    ({"step": [1, 2], "grad_norm": [np.nan, -1.5]}, "column 'grad_norm': got -1.5; a norm cannot be negative"),
    ({"step": [1], "grad_norm": [1.0], "grad_norm/w": [-2.0]}, "column 'grad_norm/w': got -2; a norm cannot be"),
])  # fmt: skip
def test_a_log_without_valid_steps_and_norms_is_refused(log: Log, message: str) -> None:
    with pytest.raises(DataError, match=message):
        diagnose(log)
