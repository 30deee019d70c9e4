"""A probe tries thresholds and plain remedies, narrows the thresholds in round two, and scores each candidate."""

import numpy as np
import pytest

from gradclip.advise.evidence import gather
from gradclip.advise.probe import Candidate, candidates, epochs_of_rounds, probe_result, second_round
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.diagnosis.probe_results import ProbeResult
from gradclip.diagnosis.remedy import Remedy
from gradclip.tracking.stored_runs import StoredRun
from tests.support.evidence import made_run, made_telemetry

EXPLODED = gather(made_run(outcome="diverged"), made_telemetry([40.0, 900.0], target=550.0))


def tried(candidate: Candidate, *errors: float) -> tuple[Candidate, ProbeResult]:
    return candidate, ProbeResult(candidate.remedy, candidate.clips, errors, len(errors), "")


def scored(outcome: str, **metrics: float) -> StoredRun:
    run = made_run(outcome)
    run.metrics.update({name.replace("__", "/"): value for name, value in metrics.items()})
    return run


def test_a_probe_tries_thresholds_a_factor_of_ten_apart_and_the_plain_remedies() -> None:
    found = candidates(EXPLODED)
    assert [one.threshold for one in found if one.clips] == pytest.approx([40, 4, 0.4, 0.04, 0.004])
    plain = [one.remedy.changes for one in found if not one.clips]
    assert ("clip=none", "data.scale_target=standard") in plain
    assert {("clip=none", "optimizer.lr=0.001"), ("clip=none", "optimizer.lr=0.0001")} < {*plain}
    for one in found:
        compose_config(merge([], one.remedy.changes))


def test_candidates_that_clip_decay_a_constant_learning_rate() -> None:
    clipping = [one.remedy for one in candidates(EXPLODED) if one.clips]
    assert all("schedule=warmup_cosine" in remedy.changes for remedy in clipping)
    assert clipping[0].what == "norm at 40, with warm-up and cosine decay"
    run = made_run(outcome="diverged", schedule__name="warmup_cosine")
    own = candidates(gather(run, made_telemetry([40.0, 900.0])))
    assert not any("schedule=warmup_cosine" in one.remedy.changes for one in own)


def test_without_a_finite_gradient_no_threshold_is_tried() -> None:
    found = candidates(gather(made_run(outcome="diverged"), made_telemetry([np.inf], target=550.0)))
    assert found
    assert not any(one.clips for one in found)


def test_the_second_round_has_the_better_half_of_the_thresholds_and_values_between() -> None:
    clipping, plain = candidates(EXPLODED)[:5], candidates(EXPLODED)[5:]
    first = [tried(one, error) for one, error in zip(clipping, [np.inf, 5.0, 1.0, 2.0, 9.0], strict=True)]
    first += [tried(one, error) for one, error in zip(plain, [3.0, np.inf, 4.0, 8.0], strict=True)]
    chosen = second_round(first, "constant")
    thresholds = [one.threshold for one in chosen if one.clips]
    assert thresholds == sorted(thresholds)
    assert thresholds[1::4] == pytest.approx([0.04, 0.4]), "0.004 and 4 are the worse half"
    assert thresholds[0] == pytest.approx(0.04 / np.sqrt(10))
    assert [one for one in chosen if not one.clips] == [plain[0], plain[2], plain[3]]


def test_the_second_round_is_empty_if_all_candidates_diverge() -> None:
    assert second_round([tried(one, np.inf) for one in candidates(EXPLODED)], "constant") == []


def test_the_steps_of_long_runs_are_limited() -> None:
    assert epochs_of_rounds(1000, 100)[1] == 20
    assert epochs_of_rounds(10, 5000)[1] == 1


def test_the_result_uses_the_examples_that_choose() -> None:
    runs = [scored("learned", final__mse_test=9.0, final__mse_validation=value) for value in (2.0, 4.0)]
    result = probe_result(Candidate(Remedy("norm at 5", ""), 5.0), runs, 10)
    assert (result.errors, result.error, result.learned, result.clips) == ((2.0, 4.0), 3.0, 2, True)
    assert result.measured == "MSE 3.00 on the validation rows after 10 epochs, mean of 2 seeds"


def test_a_candidate_that_diverged_once_has_an_infinite_error() -> None:
    runs = [scored("learned", final__accuracy_test=0.9), scored("diverged", final__accuracy_test=np.nan)]
    result = probe_result(Candidate(Remedy("Adam", "")), runs, 10)
    assert result.errors == (pytest.approx(0.1), np.inf)
    assert not result.works
    assert not probe_result(Candidate(Remedy("Adam", "")), [made_run()], 10).works, "no score"
