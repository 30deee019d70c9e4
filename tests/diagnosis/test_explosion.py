"""The explosion report says where a divergence began, shows the steps before it, and suggests remedies that fit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gradclip.diagnosis.explosion import explain, finite_explosion
from gradclip.telemetry.divergence import Divergence
from tests.support.records import make_record

NORMS = [[3.0 * 10**step, 4.0 * 10**step] for step in range(4)]  # 5, 50, 500, 5000


def exploded(**columns):
    """Return a record of four growing steps and two with NaN norms; the loss is infinite in the first of these."""
    bad = [[np.nan, np.nan]]
    return make_record(
        [*NORMS, *bad, *bad],
        weights=[[1, 1]] * 4 + bad * 2,
        nonfinite=[[0, 0]] * 4 + [[7, 1]] * 2,
        **{"loss": [1, 10, 100, 1000, np.inf, np.nan]} | columns,
    )


def test_a_run_that_did_not_diverge_has_no_explosion_report():
    assert explain(make_record(NORMS), 0.01) is None


def test_the_report_has_the_first_non_finite_value_and_the_history():
    explosion = explain(exploded(), 0.01)
    assert explosion.divergence == Divergence(5, 3, "loss")
    assert explosion.kind == "overflow"
    assert explosion.batch == 0
    assert explosion.nonfinite == {"weight": 7, "bias": 1}
    assert explosion.steps == [1, 2, 3, 4]
    assert explosion.norms == pytest.approx([5, 50, 500, 5000])
    assert explosion.growth == pytest.approx(10)
    assert (explosion.largest_parameter, explosion.largest_share) == ("bias", pytest.approx(0.64))


def test_the_text_has_a_column_of_losses_only_if_they_are_known():
    unknown = exploded(loss=[np.nan] * 6, has_loss=[False] * 6)
    header, first = str(explain(unknown, 0.01, loop="torch")).splitlines()[2:4]
    assert (header.split(), first.split()) == (["step", "gradient", "norm"], ["1", "5.00"])
    clipped = replace(exploded(), norms_clipped=np.ones((6, 2)))
    header, first = str(explain(clipped, 0.01)).splitlines()[2:4]
    assert header == "     step         loss  gradient norm after clipping"
    assert first == "        1         1.00           5.00           1.41"


@pytest.mark.parametrize(
    ("columns", "place", "kind"),
    [
        ({"loss": [1, 1, 1, 1, np.nan, np.nan]}, "loss", "not a number"),
        ({"loss": [1] * 6, "max_abs": [1, 1, 1, 1, np.inf, np.nan]}, "gradient bias", "overflow"),
        ({"loss": [1] * 6, "max_abs": [1, 1, 1, 1, np.nan, np.nan]}, "gradient bias", "not a number"),
    ],
)
def test_an_overflow_is_distinguished_from_nan(columns, place, kind):
    explosion = explain(exploded(**columns), 0.01)
    assert (explosion.divergence.place, explosion.kind) == (place, kind)


def test_an_overflowed_norm_of_finite_elements_is_an_overflow():
    explosion = explain(make_record([[1, 1], [1, np.inf]], max_abs=[1, 1], weights=[[1, 1], [1, np.nan]]), 0.01)
    assert (explosion.divergence.place, explosion.kind) == ("gradient bias", "overflow")


def test_an_infinite_weight_is_an_overflow():
    weights = [[1, 1], [1, 1], [1, np.inf], [1, np.nan]]
    explosion = explain(make_record([[1, 1]] * 4, weights=weights), 0.01)
    assert (explosion.divergence, explosion.kind) == (Divergence(3, 2, "weight bias"), "overflow")


def test_an_explosion_of_finite_gradients_is_reported():
    record = make_record([*[[3.0, 4.0]] * 4, [3e36, 4e36], *[[1e-9, 1e-9]] * 3])
    assert explain(record, 0.01) is None
    explosion = explain(record, 0.01, finite_explosion(record))
    assert (explosion.divergence, explosion.kind) == (Divergence(5, 3, "gradient"), "finite")
    assert "Largest gradient in the step before it: " in str(explosion)
    assert str(explosion).startswith("The gradient exploded at step 5 (epoch 3), to more than 10 times the median norm")
    assert [remedy.overrides for remedy in explosion.remedies] == ["-m clip=norm clip.value=0.005,0.05,0.5"]
    clipped = make_record([[3.0, 4.0], [30.0, 400.0]], norms_clipped=[[3.0, 4.0], [3.0, 4.0]])
    assert finite_explosion(clipped) is None


def test_norms_after_clipping_are_shown_only_if_clipping_changed_them():
    unclipped = str(explain(exploded(), 0.01))
    assert "after clipping" not in unclipped
    assert "        4         1000           5000\n" in unclipped
    assert "thresholds below the smallest norm, 5" in unclipped
    clipped = str(explain(exploded(norms_clipped=[[1.2, 1.6]] * 4 + [[np.nan, np.nan]] * 2), 0.01))
    assert "        4         1000           5000           2.00\n" in clipped
    assert "thresholds below the smallest norm after clipping, 2\n" in clipped
    assert "(0.002, 0.02, 0.2)" in clipped


def test_the_history_has_at_most_fifty_steps():
    weights = np.ones((80, 2))
    weights[70:] = np.nan
    explosion = explain(make_record(np.ones((80, 2)), weights=weights), 0.01)
    assert explosion.steps == list(range(21, 71))
    assert explosion.growth == pytest.approx(1)


def test_a_non_finite_first_step_has_no_history():
    explosion = explain(make_record([[np.nan, 1]], weights=[[np.nan, 1]]), 0.01)
    assert explosion.steps == []
    assert "There was no finite step before it." in str(explosion)
    assert "check data and initialization" in str(explosion)


BOUNDS = ["-m clip=norm clip.value=0.005,0.05,0.5", "loss=huber"]


@pytest.mark.parametrize(
    ("target", "remedies"),
    [
        (500, [*BOUNDS, "data.scale_target=standard", "optimizer.lr=0.001"]),
        (50_000, ["data.scale_target=standard", *BOUNDS, "optimizer.lr=0.001"]),
        (0.001, ["data.scale_target=standard", BOUNDS[0], "optimizer.lr=0.001"]),
        (1.0, [BOUNDS[0], "optimizer.lr=0.001"]),
    ],
)
def test_what_bounds_every_step_comes_first_unless_the_target_is_out_of_reach(target, remedies):
    explosion = explain(exploded(target_max_abs=[target] * 6, updates=[[0.5, 0.001]] * 6), learning_rate=0.01)
    assert [remedy.overrides for remedy in explosion.remedies] == remedies


def test_after_ten_ordinary_unclipped_steps_thresholds_reach_up_to_their_median_norm():
    norms = [[1.0, 0], *[[2.0, 0]] * 9, [500.0, 0], [5e5, 0], [np.nan, 0]]
    explosion = explain(make_record(norms, loss=[1.0] * 12 + [np.nan]), 0.01)
    assert [remedy.overrides for remedy in explosion.remedies] == ["-m clip=norm clip.value=0.02,0.2,2"]
    assert explosion.remedies[0].why == "thresholds up to the median norm, 2"
    clipped = explain(make_record(norms, loss=[1.0] * 12 + [np.nan], norms_clipped=[[1.0, 0]] * 12 + norms[12:]), 0.01)
    assert [remedy.overrides for remedy in clipped.remedies] == ["-m clip=norm clip.value=0.001,0.01,0.1"]
    one_step_less = explain(make_record(norms[1:], loss=[1.0] * 11 + [np.nan]), 0.01)
    assert [remedy.overrides for remedy in one_step_less.remedies] == ["-m clip=norm clip.value=0.002,0.02,0.2"]


def test_only_remedies_that_the_record_supports_are_suggested():
    assert [remedy.overrides for remedy in explain(exploded(), 0.01).remedies] == [
        "-m clip=norm clip.value=0.005,0.05,0.5"
    ]


def test_the_text_states_the_step_the_cause_and_the_growth():
    text = str(explain(exploded(), 0.01))
    assert text.startswith(
        "First non-finite value at step 5 (epoch 3), in the loss: infinite, because a finite value overflowed its type."
    )
    assert "weight 7, bias 1" in text
    assert "factor of 10.0 per step" in text
    assert "Largest gradient in the last finite step: bias, 64% of the squared norm." in text


def test_the_json_writes_nan_as_null():
    report = json.loads(explain(exploded(input_max_abs=[np.nan] * 6), 0.01).to_json())
    assert report["divergence"] == {"step": 5, "epoch": 3, "place": "loss"}
    assert report["norms"] == [5.0, 50.0, 500.0, 5000.0]
    assert report["input_max_abs"] is None


def test_the_text_counts_updates_that_were_skipped_before_the_explosion():
    explosion = explain(exploded(skipped=[0, 1, 1, 0, 0, 0]), 0.01)
    assert explosion.skipped == 2
    first, second, *_ = str(explosion).splitlines()
    assert first.startswith("First non-finite value that was not skipped, at step 5 (epoch 3), in the loss")
    assert second == "Updates skipped before that step: 2."


@pytest.mark.parametrize(("loop", "line"), [
    ("command", f"  {'optimizer.lr=0.001':42} steps are too large: one changed a parameter by 50% of its norm"),
    ("lightning", "    lr=0.001  # argument of the optimizer, in configure_optimizers()"),
    ("torch", "    lr=0.001  # argument of the optimizer"),
])  # fmt: skip
def test_remedies_are_written_for_the_loop_that_trained(loop, line):
    explosion = explain(exploded(updates=[[0.5, 0.001]] * 6), learning_rate=0.01, loop=loop)
    text = str(explosion)
    assert any(shown.startswith(line) for shown in text.splitlines())
    assert ("clip.value" in text) is (loop == "command")
    assert json.loads(explosion.to_json())["remedies"][-1]["how"]["torch"] == ["lr=0.001  # argument of the optimizer"]


def test_with_several_learning_rates_the_first_large_update_is_named():
    later = [[0.0, 0.5], [3.0, 0.5], [3.0, 0.5], [3.0, 0.5], [np.nan, np.nan], [np.nan, np.nan]]
    explosion = explain(exploded(updates=later), {"weight": 1e-6, "bias": 1.0})
    remedy = next(remedy for remedy in explosion.remedies if "steps are too large" in remedy.why)
    assert "changed a parameter by 50% of its norm (bias, at a learning rate of 1); " in remedy.why
    assert remedy.overrides == "optimizer.lr=0.1"


@pytest.mark.parametrize(
    ("columns", "remedies"),
    [
        ({}, ["look at this batch, and at the network's output and loss for it"]),
        ({"loss": [1, 1, 1, np.inf, np.nan]}, ["look at this batch, and at the network's output and loss for it"]),
        ({"updates": [[0, 0], [0, 0.2], [0, 0], [0, 0], [0, 0]]}, ["-m clip=norm ", "optimizer.lr=0.001"]),
        ({"norms": [[1, 1], [1, 1], [99, 99], [1, 1], [1, 1]]}, ["-m clip=norm "]),
    ],
    ids=["NaN", "infinite", "large update", "jump of the norm"],
)
def test_a_loss_that_fails_after_ordinary_steps_is_blamed_on_its_batch(columns, remedies):
    columns = {"loss": [1, 1, 1, np.nan, np.nan], "weights": [[1, 1]] * 5, "norms": [[1, 1]] * 5} | columns
    explosion = explain(make_record(columns.pop("norms"), **columns), 0.01, loop="command")
    assert (explosion.divergence.step, explosion.divergence.place) == (4, "loss")
    found = [remedy.overrides for remedy in explosion.remedies]
    assert all(map(str.startswith, found, remedies))
    assert len(found) == len(remedies)


def test_a_remedy_without_overrides_is_separated_from_its_reason():
    record = make_record([[1, 1]] * 3, loss=[1, 1, np.nan], weights=[[1, 1]] * 3)
    text = str(explain(record, 0.01, loop="command"))
    assert text.endswith(
        "\n  look at this batch, and at the network's output and loss for it: the steps before it were ordinary, so a "
        "value in the batch, or an operation on it, is not defined"
    )


def test_reasons_are_aligned_beside_a_long_remedy():
    norms = [[0.2171 * 10**step, 0.0] for step in range(4)] + [[np.nan] * 2]
    record = make_record(norms, loss=[1, 10, 100, 1000, np.inf], target_max_abs=[500] * 5)
    text = str(replace(explain(record, 0.01), loop="command"))
    thresholds, loss, target = text.partition("What to try:\n")[2].splitlines()
    assert "clip.value=0.00022,0.0022,0.022" in thresholds
    assert thresholds.index("thresholds below") == loss.index("large errors") == target.index("the target is not")
