"""Evidence: the numbers that a diagnosis is based on, and what they show by the conditions in ``conditions.py``."""

from dataclasses import dataclass

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.diagnosis import conditions
from gradclip.diagnosis.finite_statistics import finite_values, largest_of
from gradclip.diagnosis.log import LEARNING_RATE, Log, Training
from gradclip.diagnosis.probe_results import ProbeResult

ENDED_WELL = ("learned", "finished")


@dataclass(frozen=True)
class Norms:
    """Statistics of the gradient norms before clipping in the usable steps (loss units per weight unit).

    Attributes:
        steps: number of usable steps.
        mean: mean norm.
        p50: median norm.
        p90: 90th percentile of the norm.
        largest: largest norm.
        largest_step: step of the largest norm.
        spikes: number of norms that exceed ten times the median of all earlier norms.
        drift: ratio of the median in the last quarter of the steps to the median in the first.
        first: ratio of the first norm to the median in the first tenth of the steps; later norms are left out,
            since they fall as training converges.
        value_p90: 90th percentile of the largest element's magnitude.
    """

    steps: int
    mean: float
    p50: float
    p90: float
    largest: float
    largest_step: int
    spikes: int
    drift: float
    first: float
    value_p90: float


@dataclass(frozen=True)
class Evidence:
    """The numbers that findings and remedies are based on.

    Attributes:
        training: facts that the log does not have.
        log: the log.
        norms: statistics of the norms in the usable steps; None if no step is usable.
        steps: number of all steps of the log.
        clip_fraction: fraction of the steps that clipping changed.
        coefficient: mean ratio of the norm after to the norm before clipping.
        coefficient_spread: ratio of the 90th to the 10th percentile of the coefficient.
        element: magnitude of an element after clipping: the root mean square, or the largest if their number is not
            known.
        element_share: fraction of the squared norm in the largest element, the median over the spikes.
        spiking_parameter: the only parameter whose gradient spikes; empty if none or several do.
        spike_factor: factor by which the norm of the spiking parameter grows in spikes.
        tensors: number of tensors whose norms are known.
        dominant_tensor: the tensor with the largest fraction of the squared norm; empty if no tensor's norm is known.
        dominant_share: fraction of the squared norm in that tensor, the median over the steps.
        parameter_p90: 90th percentile of a parameter's norm, the median over the parameters.
        norm_for_10pct_step: norm after clipping at which nine of ten steps change the weights by at most 10% of their
            norm; NaN if it cannot be derived.
        largest_update_ratio: largest change of a parameter in a usable step, relative to its norm.
        typical_update_ratio: largest change of a parameter in a step, the median over the steps.
        target_max_abs: largest magnitude of the target, as the network sees it.
        scale_jumps: the factors by which the norms jump, if all are powers of two, by step.
        overfits_after_epoch: epoch of the best score, if the score has worsened since then by more than the noise of
            one run while the training loss kept falling; 0 otherwise.
        exploded: whether the run diverged, or stalled after its gradients exploded.
        probe_results: results of a probe, if this is the evidence from its best clipped run.
    """

    training: Training
    log: Log
    norms: Norms | None
    steps: int
    clip_fraction: float
    coefficient: float
    coefficient_spread: float
    element: float
    element_share: float
    spiking_parameter: str
    spike_factor: float
    tensors: int
    dominant_tensor: str
    dominant_share: float
    parameter_p90: float
    norm_for_10pct_step: float
    largest_update_ratio: float
    typical_update_ratio: float
    target_max_abs: float
    scale_jumps: dict[int, float]
    overfits_after_epoch: int
    exploded: bool
    probe_results: tuple[ProbeResult, ...] = ()

    @property
    def clips(self) -> bool:
        """Whether the run is known to clip."""
        is_set = self.training.clip != "" or not np.isnan(self.training.threshold)
        return self.training.clip != "none" and (is_set or self.clip_fraction > 0)

    @property
    def finite_norms(self) -> Floats:
        """The finite norms of the log, ``[steps]``."""
        return finite_values(self.log[keys.GRAD_NORM])

    @property
    def learning_rate(self) -> float:
        """The initial learning rate, or else the highest logged one; NaN if neither is known."""
        known = self.training.learning_rate
        return largest_of(self.log[LEARNING_RATE]) if np.isnan(known) else known

    @property
    def is_clipped_already(self) -> bool:
        """Whether the norms look as if they were logged after clipping; false if they are known not to be."""
        is_known = self.log.is_before_clipping or bool(self.scale_jumps)
        return not is_known and conditions.are_clipped_already(self.finite_norms)

    @property
    def is_mostly_clipped(self) -> bool:
        """Whether most steps of the run were clipped."""
        return self.clips and self.clip_fraction > conditions.MOSTLY_CLIPPED

    @property
    def needs_strong_clipping(self) -> bool:
        """Whether most steps must be clipped: most steps of the run were, or the run exploded."""
        return self.exploded or self.is_mostly_clipped

    @property
    def needs_probe(self) -> bool:
        """Whether the norms are no basis for advice: most steps must be clipped, or the task was not solved."""
        return self.needs_strong_clipping or self.training.is_solved is False

    @property
    def has_too_few_steps(self) -> bool:
        """Whether the gradients exploded after too few steps to choose a threshold."""
        return self.exploded and self.norms is not None and self.norms.steps < conditions.FEW_NORMS

    @property
    def is_calm(self) -> bool:
        """Whether gradients neither exploded nor spiked; false for a clipped log whose outcome is not known."""
        if self.needs_strong_clipping or self.spiking_parameter or self.norms is None:
            return False
        return not self.norms.spikes and (not self.clips or self.training.outcome != "")

    @property
    def has_drifted(self) -> bool:
        """Whether the norms of a run that did not explode changed too much for one threshold."""
        drift = 1.0 if self.norms is None or self.exploded else self.norms.drift
        return not 1 / conditions.LARGE_DRIFT < drift < conditions.LARGE_DRIFT

    @property
    def one_tensor_dominates(self) -> bool:
        """Whether one of at least three tensors has nearly all of the squared norm."""
        return self.dominant_share > conditions.DOMINANT_TENSOR and self.tensors >= conditions.MIN_TENSORS

    @property
    def is_inert(self) -> bool:
        """Whether the run rescales gradients by a norm and its optimizer undoes it, wholly or nearly."""
        if self.training.clip not in conditions.RESCALING:
            return False
        if conditions.is_scale_free(self.training.optimizer):
            return self.clip_fraction > 0
        is_constant = self.clip_fraction >= conditions.NEARLY_ALL and self.coefficient_spread <= conditions.STEADY
        return conditions.divides_by_average(self.training.optimizer) and is_constant

    @property
    def norm_is_undone(self) -> bool:
        """Whether the optimizer undoes clipping by the norm, or would undo it."""
        return self.is_inert or conditions.is_scale_free(self.training.optimizer)

    @property
    def epsilon_dominates(self) -> bool:
        """Whether gradients are so small that the epsilon of an Adam-like optimizer at least halves its updates."""
        return conditions.divides_by_average(self.training.optimizer) and self.element <= self.training.epsilon

    @property
    def can_scale_target(self) -> bool:
        """Whether the target is far from 1 in magnitude, and could be scaled."""
        return conditions.is_far_from_one(self.target_max_abs) and self.training.can_scale_target
