"""The evidence as sentences with numbers."""

from collections.abc import Iterator
from math import isnan

from gradclip.advise.evidence import Evidence
from gradclip.advise.suggestions import LARGE_DRIFT, MOSTLY_CLIPPED, rounded, threshold_range

FEW_STEPS = 50  # usable steps, below which percentiles are rough


def findings(evidence: Evidence, probe: Evidence | None = None) -> list[str]:
    """Return the sentences.

    Args:
        evidence: of the run.
        probe: of a short run that was trained to measure norms, if there was one.
    """
    measured = probe or evidence
    return [
        *_outcome(evidence, probe),
        *_overfitting(evidence),
        *_norms(measured),
        *_clipping(evidence),
        *_spikes_and_drift(measured),
    ]


def _outcome(evidence: Evidence, probe: Evidence | None) -> Iterator[str]:
    run, norms = evidence.run, evidence.norms
    yield f"Outcome of {run.name}: {run.outcome}."
    if probe is not None:
        yield f"The norms were measured in a probe run of {probe.steps} steps, {probe.run.name}: {probe.run.outcome}."
        if probe.exploded and probe.norms is not None:
            steps = probe.norms.steps
            yield f"The probe run exploded too, after {steps} steps: the threshold is a guess; try far smaller ones."
    elif norms is None:
        yield "No step had a finite gradient, so no norm can be measured: check the data and the initialization."
    elif evidence.exploded:
        yield (
            f"The gradients exploded after {norms.steps} of {evidence.steps} steps; only the steps before are used. "
            "With probe=true a short clipped run measures more."
        )
    elif norms.steps < FEW_STEPS:
        yield f"Only {norms.steps} steps can be used: percentiles are rough."


def _overfitting(evidence: Evidence) -> Iterator[str]:
    if best := evidence.overfits_after_epoch:
        yield (
            f"The run overfits: the test score was best in epoch {best} and ended "
            f"{evidence.final_to_best_ratio - 1:.1%} worse, while the training loss kept falling. "
            "Clipping does not prevent that."
        )


def _norms(evidence: Evidence) -> Iterator[str]:
    norms, thresholds = evidence.norms, threshold_range(evidence)
    if norms is None or thresholds is None:
        return
    yield (
        f"Gradient norms before clipping, of {norms.steps} steps: average {norms.mean:.3g}, median {norms.p50:.3g}, "
        f"90th percentile {norms.p90:.3g}, largest {norms.largest:.3g}."
    )
    low, high = map(rounded, thresholds)
    yield f"Usual thresholds, half to ten times the average norm (Pascanu et al. 2013): {low} to {high}."


def _clipping(evidence: Evidence) -> Iterator[str]:
    if not evidence.clips or isnan(evidence.clip_fraction):
        return
    label = f"clip={evidence.setting('clip.name')}"
    if evidence.clip_fraction == 0:
        yield f"{label} at {evidence.setting('clip.value')} never clipped: the run equals one without clipping."
    elif evidence.clip_fraction > MOSTLY_CLIPPED:
        rate = evidence.learning_rate * evidence.coefficient
        alike = "" if isnan(rate) else f", as optimizer.lr={rounded(rate)} would"
        yield (
            f"{label} changed {evidence.clip_fraction:.0%} of the steps, so it acts like a smaller learning rate: on "
            f"average it multiplies gradients by {evidence.coefficient:.3g}{alike}."
        )
    else:
        yield f"{label} changed {evidence.clip_fraction:.0%} of the steps."


def _spikes_and_drift(evidence: Evidence) -> Iterator[str]:
    norms = evidence.norms
    if norms is None:
        return
    if evidence.spiking_parameter:
        yield f"Only the gradient of {evidence.spiking_parameter} spikes ({evidence.spike_factor:.3g}-fold)."
    if not isnan(evidence.element_share):
        yield (
            "In the 10% of the steps with the largest norms, one element has "
            f"{evidence.element_share:.0%} of the squared norm."
        )
    if not evidence.exploded and not 1 / LARGE_DRIFT < norms.drift < LARGE_DRIFT:
        yield f"The norm changed by a factor of {norms.drift:.2g} from the first quarter of the steps to the last."
