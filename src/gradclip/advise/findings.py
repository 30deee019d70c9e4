"""What the evidence says, in sentences with numbers."""

from collections.abc import Iterator
from math import isnan

from gradclip.advise.evidence import Evidence
from gradclip.advise.suggestions import DRIFT, MOSTLY, rounded, threshold_range

FEW_STEPS = 50


def findings(evidence: Evidence, probe: Evidence | None = None) -> list[str]:
    """Say what was measured.

    Args:
        evidence: of the run.
        probe: of a short run that was trained to measure norms, where there was one.
    """
    norms = probe or evidence
    return [*_outcome(evidence, probe), *_overfitting(evidence), *_norms(norms), *_clipped(evidence), *_shape(norms)]


def _outcome(evidence: Evidence, probe: Evidence | None) -> Iterator[str]:
    run, norms = evidence.run, evidence.norms
    yield f"The run {run.name} ended as {run.outcome}."
    if probe is not None:
        yield f"The norms are those of a probe of {probe.steps} steps, {probe.run.name}, which {probe.run.outcome}."
        if probe.ran_away and probe.norms is not None:
            steps = probe.norms.steps
            yield f"The probe ran away too, after {steps} steps: the threshold is a guess; try far smaller ones."
        return
    if norms is None:
        yield "None of its steps had a finite gradient: nothing can be measured; look at data and initialization."
    elif evidence.ran_away:
        yield (
            f"Its gradients broke out after {norms.steps} of {evidence.steps} steps; only those before are used. "
            "With probe=true a short clipped run measures more."
        )
    elif norms.steps < FEW_STEPS:
        yield f"Only {norms.steps} steps can be used: percentiles are rough."


def _overfitting(evidence: Evidence) -> Iterator[str]:
    if best := evidence.overfits_after:
        yield (
            f"It overfits: the test score was best in epoch {best} and ended {evidence.final_to_best_ratio - 1:.1%} "
            "worse, while the training loss went on falling. Clipping does not help against that."
        )


def _norms(evidence: Evidence) -> Iterator[str]:
    norms, between = evidence.norms, threshold_range(evidence)
    if norms is None or between is None:
        return
    yield (
        f"Gradient norms before clipping, of {norms.steps} steps: average {norms.mean:.3g}, median {norms.p50:.3g}, "
        f"90th percentile {norms.p90:.3g}, largest {norms.largest:.3g}."
    )
    low, high = (rounded(end) for end in between)
    yield f"Thresholds worth a look, half to ten times the average (Pascanu et al. 2013): {low} to {high}."


def _clipped(evidence: Evidence) -> Iterator[str]:
    if not evidence.clips or isnan(evidence.clip_fraction):
        return
    label = f"clip={evidence.setting('clip.name')}"
    if evidence.clip_fraction == 0:
        yield f"{label} at {evidence.setting('clip.value')} never clipped anything: the run is one without clipping."
    elif evidence.clip_fraction > MOSTLY:
        rate = evidence.learning_rate * evidence.coefficient
        yield (
            f"{label} changed {evidence.clip_fraction:.0%} of the steps: a smaller learning rate in disguise. On "
            f"average it multiplies gradients by {evidence.coefficient:.3g}, as optimizer.lr={rounded(rate)} would."
        )
    else:
        yield f"{label} changed {evidence.clip_fraction:.0%} of the steps."


def _shape(evidence: Evidence) -> Iterator[str]:
    norms = evidence.norms
    if norms is None:
        return
    if evidence.spiking_parameter:
        yield f"Spikes are those of {evidence.spiking_parameter} alone ({evidence.spike_factor:.3g}-fold)."
    if not isnan(evidence.element_share):
        yield f"In the largest tenth of the norms, one element has {evidence.element_share:.0%} of the squared norm."
    if not evidence.ran_away and not 1 / DRIFT < norms.drift < DRIFT:
        yield f"The norm changed by a factor of {norms.drift:.2g} from the first quarter of the steps to the last."
