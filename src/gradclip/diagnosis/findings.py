"""Findings: the evidence as sentences with numbers, and which of them are problems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan

import numpy as np

from gradclip import keys
from gradclip.diagnosis import conditions
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.log import STEP
from gradclip.diagnosis.probe_results import ORIGINAL_SETTINGS, ProbeResult, names_of, remedies_of
from gradclip.diagnosis.suggestions import HIGHEST_THRESHOLD, LOWEST_THRESHOLD, rounded
from gradclip.errors import first_few
from gradclip.formatting import chosen_on_test, counted, format_value

NO_BASIS = f"Fewer than {conditions.FEW_NORMS} steps are not enough to choose a threshold."
FEW_STEPS = 50  # number of usable steps below which percentiles are rough
SHOWN_JUMPS = 5


@dataclass(frozen=True)
class Finding:
    """A statement about the training run that the evidence supports.

    Attributes:
        kind: kind of finding in a few words, independent of the numbers.
        text: the statement, a sentence with numbers.
        numbers: the numbers, by name.
        is_problem: whether something should be done about it; other findings only describe the training run.
    """

    kind: str
    text: str
    numbers: dict[str, float] = field(default_factory=dict)
    is_problem: bool = False

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text


def find(evidence: Evidence, probe: Evidence | None = None) -> list[Finding]:
    """Return the findings.

    Args:
        evidence: evidence from the run.
        probe: evidence from a short run that measured norms; None without one.
    """
    measured = probe or evidence
    found = [_outcome(evidence), *(_usable_steps(evidence) if probe is None else _probe(probe))]
    found += [*_chosen_on_test(evidence, measured), *_overfitting(evidence), *_log_quality(measured)]
    if measured.is_clipped_already or not evidence.steps:
        return found  # such norms say nothing else about the gradients
    return [
        *found,
        *_target(evidence),
        *_norms(measured),
        *_clipping(evidence),
        *_optimizer(evidence),
        *_spikes(measured),
        *_layers(measured),
        *_drift(measured),
    ]


def _outcome(evidence: Evidence) -> Finding:
    training, numbers = evidence.training, {"steps": float(evidence.steps)}
    if training.command is None:
        return Finding("steps", _logged_steps(evidence), numbers)
    text = f"Outcome of {training.name}: {training.outcome}."
    if training.outcome == "stalled" and evidence.is_calm:
        text += " Its gradients neither explode nor spike, so clipping will not help."
    return Finding("outcome", text, numbers, is_problem=training.outcome in {"diverged", "stalled"})


def _probe(probe: Evidence) -> Iterator[Finding]:
    """Yield findings on a probe: on the settings that it tried, or on the short run that measured norms."""
    if probe.probe_results:
        yield _tried_settings(probe.probe_results)
        return
    text = f"The norms are from a probe run of {counted(probe.steps, 'step')}, {probe.training.name}"
    yield Finding("probe", f"{text}: {probe.training.outcome}.", {"steps": float(probe.steps)})
    if probe.exploded and probe.norms is not None:
        steps = probe.norms.steps
        text = f"The probe run exploded too, after {counted(steps, 'step')}."
        text += f" {NO_BASIS}" if probe.has_too_few_steps else " Its threshold was too large."
        yield Finding("explosion of probe", text, {"steps": float(steps)}, is_problem=True)


def _usable_steps(evidence: Evidence) -> Iterator[Finding]:
    norms = evidence.norms
    if norms is None:
        if evidence.steps:
            yield _unusable(evidence)
    elif evidence.exploded:
        text = f"The gradients exploded after {norms.steps} of {evidence.steps} steps; later steps are not used."
        text += f" {NO_BASIS}" if evidence.has_too_few_steps else ""
        yield Finding("explosion", text, {"steps_before": float(norms.steps)}, is_problem=True)
    elif norms.steps < FEW_STEPS:
        text = f"Only {counted(norms.steps, 'step is', 'steps are')} usable, so percentiles are rough."
        yield Finding("few steps", text, {"steps": float(norms.steps)})


def _unusable(evidence: Evidence) -> Finding:
    """Return a finding on a run in which no gradient is finite, or every finite one is zero."""
    if not evidence.finite_norms.size:
        text = "No step had a finite gradient, so no norm can be measured: check the data and the initialization."
        return Finding("no finite gradient", text, is_problem=True)
    causes = "The loss may not depend on the weights, or units may be dead (ReLU) or saturated."
    return Finding("zero gradients", f"Every finite gradient is zero, so nothing is learned. {causes}", is_problem=True)


def _tried_settings(results: Sequence[ProbeResult]) -> Finding:
    """Return a finding on the settings that a probe tried, and on those that diverged or did not learn."""
    groups = {
        "diverged": [result for result in results if not isfinite(result.error)],
        "learned nothing": [result for result in results if isfinite(result.error) and not result.works],
    }
    text = f"A probe tried {counted(len(results), 'setting')}."
    text += "".join(f" These {what}: {'; '.join(names_of(found))}." for what, found in groups.items() if found)
    works = sum(result.works for result in results)
    if not works:
        longer = "train for more epochs, or " if groups["learned nothing"] else ""
        text += f" None of them helps: {longer}check the data and the initialization."
    else:
        if not remedies_of(results):
            text += f" None of them is better than {ORIGINAL_SETTINGS.what}."
        text += " The norms below are from its best clipped run."
    numbers = {"tried": float(len(results)), "work": float(works), "diverged": float(len(groups["diverged"]))}
    return Finding("probe", text, numbers, is_problem=not works)


def _logged_steps(evidence: Evidence) -> str:
    step = evidence.log[STEP]
    if not step.size:
        return "No step was logged."
    repeated = evidence.log.repeated
    more = f"; rows dropped because their step was logged again later: {repeated:,}" if repeated else ""
    logged = "logged step" if len(step) == 1 else "logged steps"
    return f"{len(step):,} {logged}, {step[0]:.0f} to {step[-1]:.0f}{more}."


def _chosen_on_test(evidence: Evidence, measured: Evidence) -> Iterator[Finding]:
    """Yield a finding if the advice is based on the test rows."""
    goes_by_score = any(result.works for result in measured.probe_results) or evidence.overfits_after_epoch
    if goes_by_score and measured.training.chosen_on == "test":
        yield Finding("chosen on test rows", chosen_on_test())


def _overfitting(evidence: Evidence) -> Iterator[Finding]:
    training = evidence.training
    if best := evidence.overfits_after_epoch:
        worse = training.final_to_best_ratio - 1
        text = (
            f"The run overfits: the {training.chosen_on} score was best in epoch {best} and ended {worse:.0%} "
            "worse, while the training loss kept falling. Clipping does not prevent that."
        )
        yield Finding("overfitting", text, {"best_epoch": float(best), "worse": worse}, is_problem=True)
    elif training.accuracy_gap > conditions.LARGE_GAP:
        better = f"The run fits the training rows much better than the {training.chosen_on} rows"
        yield Finding("gap to training rows", f"{better}: {training.final_scores}.", {"gap": training.accuracy_gap})


def _log_quality(evidence: Evidence) -> Iterator[Finding]:
    """Yield findings on norms that do not show the size of the gradients."""
    if jumps := evidence.scale_jumps:
        shown = first_few((f"{factor:g} at step {step}" for step, factor in jumps.items()), SHOWN_JUMPS)
        text = f"The norms jump by powers of two, as a loss scale does: by a factor of {shown}."
        yield Finding("loss scale", text, {f"step_{step}": factor for step, factor in jumps.items()}, is_problem=True)
    if evidence.is_clipped_already:
        norms = evidence.finite_norms
        share, largest = conditions.fraction_at_maximum(norms), float(norms.max())
        text = (
            f"{share:.0%} of the norms equal the largest, {largest:.4g}: they were logged after clipping at that "
            "threshold, so they do not show how large the gradients were."
        )
        yield Finding("clipped norms", text, {"fraction": share, "threshold": largest}, is_problem=True)


def _target(evidence: Evidence) -> Iterator[Finding]:
    if evidence.can_scale_target:
        largest = evidence.target_max_abs
        yield Finding("target", f"The target is not scaled: it reaches {largest:.4g}.", {"largest": largest})


def _norms(evidence: Evidence) -> Iterator[Finding]:
    norms = evidence.norms
    if norms is None:
        return
    numbers = {"mean": norms.mean, "median": norms.p50, "p90": norms.p90, "largest": norms.largest}
    average, median, p90, largest = map(format_value, numbers.values())
    text = (
        f"Gradient norms before clipping, over {counted(norms.steps, 'step')}: average {average}, median {median}, "
        f"90th percentile {p90}, largest {largest}."
    )
    yield Finding("norms", text, numbers)
    if evidence.has_too_few_steps:
        return
    low, high = LOWEST_THRESHOLD * norms.mean, HIGHEST_THRESHOLD * norms.mean
    text = "Usual thresholds, half to ten times the average norm (Pascanu et al. 2013)"
    yield Finding("thresholds", f"{text}: {rounded(low)} to {rounded(high)}.", {"low": low, "high": high})


def _clipping(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.clips or isnan(evidence.clip_fraction):
        return
    training = evidence.training
    label = "Clipping" if training.command is None else f"clip={training.clip}"
    label += "" if isnan(training.threshold) else f" at {training.threshold}"
    numbers = {"clip_fraction": evidence.clip_fraction, "coefficient": evidence.coefficient}
    if evidence.clip_fraction == 0:
        text = f"{label} never changed a gradient: the run is the same as without clipping."
        yield Finding("threshold never reached", text, numbers, is_problem=not evidence.is_calm)
    elif evidence.clip_fraction > conditions.MOSTLY_CLIPPED and not conditions.undoes_scale(training.optimizer):
        rate = evidence.learning_rate * evidence.coefficient
        same = "" if isnan(rate) else f", which amounts to a learning rate of {rounded(rate)}"
        text = (
            f"{label} changed {evidence.clip_fraction:.0%} of the steps, so it acts like a smaller learning rate: on "
            f"average it multiplies gradients by {evidence.coefficient:.3g}{same}."
        )
        yield Finding("mostly clipped", text, numbers, is_problem=True)
    else:
        yield Finding("clipping", f"{label} changed {evidence.clip_fraction:.0%} of the steps.", numbers)


def _optimizer(evidence: Evidence) -> Iterator[Finding]:
    """Yield findings on clipping that the optimizer undoes, or that stops the training."""
    training = evidence.training
    if evidence.is_inert:
        spread = evidence.coefficient_spread
        reason = (
            "divides each update by its own size"
            if conditions.is_scale_free(training.optimizer)
            else f"divides by a running average of gradients, all clipped alike (within a factor of {spread:.3g})"
        )
        text = f"Clipping by the norm has little or no effect: {training.optimizer} {reason}."
        yield Finding("inert clipping", text, {"coefficient_spread": spread}, is_problem=True)
    if evidence.epsilon_dominates:
        text = (
            f"After clipping, a gradient element is about {evidence.element:.2g}, no larger than "
            f"{training.optimizer}'s epsilon, {training.epsilon:g}: updates are at most half of their intended size."
        )
        yield Finding("epsilon", text, {"element": evidence.element, "epsilon": training.epsilon}, is_problem=True)
    ratio = evidence.typical_update_ratio
    if evidence.clips and conditions.updates_vanish(training.optimizer, evidence.coefficient, ratio):
        change = "steps shrink by the same factor"
        if isfinite(ratio):
            usual = f"{conditions.USUAL_UPDATE:g} is usual"
            change = f"steps change parameters by at most {ratio:.2g} of their norm; {usual}"
        text = f"Clipping stops the training: it multiplies gradients by {evidence.coefficient:.2g}, and {change}."
        numbers = {"coefficient": evidence.coefficient, "update_ratio": ratio}
        yield Finding("vanishing updates", text, numbers, is_problem=True)


def _spikes(evidence: Evidence) -> Iterator[Finding]:
    norms, norm = evidence.norms, evidence.log[keys.GRAD_NORM]
    if norms is None:
        return
    nonfinite = np.flatnonzero(~np.isfinite(norm))
    if nonfinite.size and not evidence.exploded:
        first = int(evidence.log[STEP][nonfinite[0]])
        text = (
            f"{nonfinite.size:,} of {len(norm):,} norms are not finite, the first at step {first}: their updates were "
            "probably skipped."
        )
        yield Finding("norms that are not finite", text, {"count": float(nonfinite.size), "first": float(first)})
    if norms.spikes:
        text = (
            f"Norms above ten times the median of all earlier norms: {norms.spikes:,} of {norms.steps:,}; the largest, "
            f"{format_value(norms.largest)}, is at step {norms.largest_step}."
        )
        numbers = {"spikes": float(norms.spikes), "largest": norms.largest, "step": float(norms.largest_step)}
        yield Finding("spikes", text, numbers, is_problem=True)
    if evidence.spiking_parameter:
        text = f"Only the gradient of {evidence.spiking_parameter} spikes ({evidence.spike_factor:.3g}-fold)."
        yield Finding("one tensor spikes", text, {"factor": evidence.spike_factor}, is_problem=True)
    if evidence.element_share > conditions.DOMINANT_ELEMENT:
        share = f"{evidence.element_share:.0%} of the squared norm"
        text = f"In the 10% of the steps with the largest norms, one element has {share}."
        yield Finding("largest element", text, {"share": evidence.element_share}, is_problem=True)


def _layers(evidence: Evidence) -> Iterator[Finding]:
    if evidence.one_tensor_dominates:
        text = (
            f"{evidence.dominant_tensor} has {evidence.dominant_share:.0%} of the squared norm of {evidence.tensors} "
            "tensors, so it alone determines how much clipping by the global norm shrinks the others."
        )
        yield Finding("one tensor dominates", text, {"share": evidence.dominant_share}, is_problem=True)


def _drift(evidence: Evidence) -> Iterator[Finding]:
    norms = evidence.norms
    if norms is not None and evidence.has_drifted:
        text = f"The norm changed by a factor of {norms.drift:.2g} from the first quarter of the steps to the last."
        yield Finding("drift", text, {"factor": norms.drift}, is_problem=norms.drift > 1)
