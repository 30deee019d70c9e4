"""Remedies that the evidence supports, with reasons; also used by the explosion report and by advice."""

from collections.abc import Iterator
from dataclasses import replace

from numpy import fmin, isnan, median

from gradclip.arrays import Floats
from gradclip.diagnosis import conditions, remedy
from gradclip.diagnosis.evidence import ENDED_WELL, Evidence, Norms
from gradclip.diagnosis.probe_results import last_resort, remedies_of
from gradclip.diagnosis.remedy import Remedy

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.5, 10.0  # usual thresholds, in average norms (Pascanu et al. 2013)
UNCLIPPED_EQUIVALENT = "smaller learning rate, no clipping"
UNCLIPPED_SAME_RATE = "same learning rate, no clipping"
SMALL_EPSILON = 0.01  # fraction of an element's size: updates then have 99% of their size without epsilon
AUTO_PERCENTILE = 10  # as in Seetharaman et al. 2020
BOUNDED_LOSS = Remedy(
    "another loss", "large errors dominate a squared loss; the Huber loss has a bounded derivative", remedy.HUBER_LOSS
)


def suggest(measured: Evidence, run: Evidence) -> list[Remedy]:
    """Return what to try: the advice first, then other remedies that the evidence supports.

    Args:
        measured: evidence from the run whose norms are used: the run itself, or a probe.
        run: evidence from the run that the advice is for.
    """
    if measured.is_clipped_already:
        why = "the norms in this log were measured after clipping, so no threshold can be derived from them"
        return [Remedy("log norms before clipping", why, remedy.NORMS_BEFORE_CLIPPING)]
    if measured.scale_jumps:
        why = "the norms include the loss scale, so a threshold has no fixed meaning"
        return [Remedy("unscale gradients first", why, remedy.UNSCALED_NORMS)]
    if measured.probe_results:
        untried = [replace(one, why=f"{one.why}; not tried by the probe") for one in _other_causes(run)]
        return [
            *remedies_of(measured.probe_results),
            *(one for one in untried if not one.changes_any(run.training.fixed_groups)),
            *(last_resort(measured.probe_results) if run.training.outcome == "diverged" else ()),
        ]
    clipping = [] if run.is_calm or run.norm_is_undone else [*_clipping(measured, run.needs_strong_clipping)]
    ended_calmly = run.is_calm and run.training.outcome != ""  # a log alone does not show how the training ended
    by_norms = [] if ended_calmly else [*_thresholds_by_norms(measured)]
    scaling = [unclipped(scaled_target(run.target_max_abs))] if run.can_scale_target else []
    step_size, epochs = [*_step_size(run)], [*_fewer_epochs(run)]
    if scaling_comes_first(run):
        ordered = [*scaling, *step_size, *clipping, *_other_causes(run)]
    elif measured.has_too_few_steps:
        ordered = [*clipping, *_other_causes(run), *scaling, *step_size]  # as in the explosion report
    elif (run.training.outcome in ENDED_WELL or run.overfits_after_epoch) and not clipping:
        ordered = step_size  # there is no failure whose cause could be removed
    else:
        ordered = [*clipping, *step_size, *scaling, *_other_causes(run)]
    overfits_clearly = run.training.final_to_best_ratio > conditions.OVERFITS_CLEARLY
    found = [
        *(epochs if overfits_clearly else ()),
        *_optimizer(run),
        *ordered,
        *by_norms,
        *(() if overfits_clearly else epochs),
    ]
    return [one for one in found if not one.changes_any(run.training.fixed_groups)]


def rounded(value: float) -> str:
    """Return a suggested setting as text with two significant digits.

    Example:
        >>> rounded(173.4), rounded(0.0123)
        ('170', '0.012')
    """
    return f"{float(f'{value:.2g}'):g}"


def scaling_comes_first(evidence: Evidence) -> bool:
    """Return whether the target can be scaled, and must be before clipping can help."""
    return evidence.can_scale_target and conditions.is_out_of_reach(evidence.target_max_abs)


def _clipping(evidence: Evidence, strong: bool) -> Iterator[Remedy]:
    norms = evidence.norms
    if norms is None:
        return
    if evidence.has_too_few_steps:
        yield thresholds_over_decades(evidence.finite_norms[: norms.steps])
        return
    may_clip_parts = not evidence.is_mostly_clipped  # otherwise usual norms are far too large as thresholds
    if may_clip_parts and evidence.spiking_parameter:
        yield clip_each_tensor(evidence, f"only {evidence.spiking_parameter} spikes, {evidence.spike_factor:.3g}-fold")
    if may_clip_parts and evidence.element_share > conditions.DOMINANT_ELEMENT:
        yield Remedy(
            "clipping each element separately",
            f"in spikes, one element has {evidence.element_share:.0%} of the squared norm; the threshold is the 90th "
            f"percentile of the largest element, {norms.value_p90:.3g}",
            remedy.clip_value(rounded(norms.value_p90)),
        )
    yield _norm_clipping(evidence, norms, strong)


def clip_each_tensor(evidence: Evidence, why: str) -> Remedy:
    """Return the remedy that clips each tensor by its own norm, at one threshold typical of all tensors."""
    return Remedy(
        "clipping each tensor separately",
        f"{why}; the threshold is the 90th percentile of a tensor's norm, {evidence.parameter_p90:.3g}",
        remedy.clip_each_tensor(rounded(evidence.parameter_p90)),
    )


def _norm_clipping(evidence: Evidence, norms: Norms, strong: bool) -> Remedy:
    """Suggest the 90th percentile of the norms; or, if most steps must be clipped, less with a decaying learning rate.

    The smaller threshold is half of the average norm, the lower end of the range that Pascanu et al. found to work, or
    the norm at which a step changes the weights by 10%, whichever is smaller. Even lower ones are suggested beside it
    if the user's module sets the schedule.
    """
    if not strong:
        why = f"10% of the norms are above {norms.p90:.3g}"
        return Remedy("clipping by the norm, at its 90th percentile", why, remedy.clip_norm(rounded(norms.p90)))
    half = LOWEST_THRESHOLD * norms.mean
    value = rounded(fmin(half, evidence.norm_for_10pct_step))
    how = remedy.clip_norm(value)
    why = f"most steps must be clipped, and thresholds below half of the average norm ({norms.mean:.3g}) are unusual"
    if evidence.norm_for_10pct_step < half:
        why += f"; at {value} a step already changes the weights by 10% of their norm"
    if evidence.training.schedule not in {"constant", ""}:
        return Remedy("clipping by the norm, at a low threshold", why, how)
    if "schedule" in evidence.training.fixed_groups:  # only the user's module can let the learning rate decay
        values = ",".join(rounded(float(value) * factor) for factor in (0.01, 0.1, 1))
        why += ", but may be needed if the learning rate does not decay"
        return Remedy("clipping by the norm, at several thresholds", why, remedy.clip_norm(values))
    why += "; steps of constant length converge only if the learning rate decays"
    return Remedy("clipping by the norm, with cosine decay", why, how + remedy.COSINE_DECAY)


def thresholds_over_decades(norms: Floats, after_clipping: bool = False) -> Remedy:
    """Return thresholds over three decades: far below the smallest norm, or up to the median of many unclipped norms.

    Args:
        norms: the finite norms of the steps before an explosion, ``[steps]``.
        after_clipping: whether they were measured after clipping, which was not enough.
    """
    are_too_large = after_clipping or norms.size < conditions.FEW_NORMS  # a few first ones may be part of the explosion
    where, norm = ("below the smallest", norms.min()) if are_too_large else ("up to the median", median(norms))
    factors = (0.001, 0.01, 0.1) if are_too_large else (0.01, 0.1, 1)
    values = ",".join(rounded(float(norm) * factor) for factor in factors)
    why = f"thresholds {where} norm{' after clipping' if after_clipping else ''}, {norm:.4g}"
    return Remedy("clipping by the norm, at several thresholds", why, remedy.clip_norm(values))


def _fewer_epochs(evidence: Evidence) -> Iterator[Remedy]:
    """Suggest fewer epochs if a run overfits: a setting that trains better only overfits more."""
    if best := evidence.overfits_after_epoch:
        why = f"the {evidence.training.chosen_on} score was best after epoch {best}; from then on the run overfits"
        yield Remedy("fewer epochs", why, remedy.epochs(best))


def _optimizer(evidence: Evidence) -> Iterator[Remedy]:
    """Suggest no clipping if the optimizer undoes it, and a smaller epsilon if that dominates its updates."""
    training = evidence.training
    if evidence.is_inert:
        why = f"{training.optimizer} undoes it; only the learning rate shortens the steps"
        yield Remedy("no clipping", why, remedy.NO_CLIPPING)
    if evidence.epsilon_dominates:
        why = f"a gradient element is about {evidence.element:.2g}, no larger than epsilon, {training.epsilon:g}"
        epsilon = rounded(evidence.element * SMALL_EPSILON)
        yield Remedy("smaller epsilon", why, remedy.optimizer_argument("eps", epsilon))


def _step_size(evidence: Evidence) -> Iterator[Remedy]:
    training = evidence.training
    if evidence.exploded:  # even if clipped, so that steps of the same length explode without clipping
        if evidence.has_too_few_steps or evidence.largest_update_ratio > conditions.LARGE_UPDATE:
            yield smaller_rate(evidence.largest_update_ratio, evidence.learning_rate)
    elif (
        evidence.needs_strong_clipping and evidence.coefficient > 0 and not conditions.undoes_scale(training.optimizer)
    ):
        yield unclipped_equivalent(evidence)
    if training.final_to_best_ratio > conditions.UNSTABLE_END and training.schedule == "constant":
        ratio = f"{training.final_to_best_ratio:.3g}"
        why = f"the final {training.chosen_on} error is {ratio} times the best one: training is unstable at its end"
        yield Remedy("learning rate decay alone", why, remedy.COSINE_DECAY)


def smaller_rate(update_ratio: float, rate: float, where: str = "") -> Remedy:
    """Return the remedy that trains at a tenth of the learning rate.

    Args:
        update_ratio: largest change of a parameter in a step, relative to its norm.
        rate: the learning rate; NaN if it is not known.
        where: text that names the parameter and its learning rate; empty if all have the same rate.
    """
    why = "a tenth of the rate is a guess and may diverge again"
    if update_ratio > conditions.LARGE_UPDATE:
        why = f"steps are too large: one changed a parameter by {update_ratio:.0%} of its norm{where}; {why}"
    how = remedy.scale_rate("0.1") if isnan(rate) else remedy.optimizer_argument("lr", f"{rate / 10:g}")
    return Remedy("smaller learning rate", why, how)


def unclipped_equivalent(evidence: Evidence) -> Remedy:
    """Return the remedy that does not clip, at the learning rate whose steps have the same average length."""
    if conditions.undoes_scale(evidence.training.optimizer):
        why = f"{evidence.training.optimizer} undoes the average factor by which clipping scales gradients"
        return Remedy(UNCLIPPED_SAME_RATE, why, remedy.NO_CLIPPING)
    rate, factor = evidence.learning_rate, evidence.coefficient
    why = f"clipping multiplies gradients by {factor:.3g} on average; this learning rate shortens the steps as much"
    how = remedy.scale_rate(rounded(factor)) if isnan(rate) else remedy.optimizer_argument("lr", rounded(rate * factor))
    return Remedy(UNCLIPPED_EQUIVALENT, why, remedy.NO_CLIPPING + how)


def _other_causes(evidence: Evidence) -> Iterator[Remedy]:
    norms, training = evidence.norms, evidence.training
    if evidence.target_max_abs > conditions.LARGE_TARGET and training.loss in {"mse", "auto", ""}:
        yield unclipped(BOUNDED_LOSS)
    if norms is not None and norms.first > conditions.LARGE_FIRST_NORM and training.initialization:
        why = f"the first gradient norm is {norms.first:.3g} times the next ones: the initial weights are too large"
        yield Remedy("another initialization", why, remedy.DEFAULT_INITIALIZATION)


def unclipped(other: Remedy) -> Remedy:
    """Return a remedy with clipping turned off, to use in place of clipping."""
    return Remedy(other.what, other.why, remedy.NO_CLIPPING + other.how)


def scaled_target(target_max_abs: float) -> Remedy:
    """Return the remedy that standardizes the target."""
    why = f"the target is not scaled: it reaches {target_max_abs:.4g}"
    return Remedy("scaled target", why, remedy.STANDARDIZED_TARGET)


def _thresholds_by_norms(evidence: Evidence) -> Iterator[Remedy]:
    """Suggest a threshold that follows norms that drift, and one for each tensor if a single one dominates.

    Norms that fall calmly, without a threshold, show only that the training converges.
    """
    norms = evidence.norms
    if norms is not None and evidence.has_drifted:
        is_growing = norms.drift > 1
        change = f"grow {norms.drift:.3g}-fold" if is_growing else f"fall to {norms.drift:.2g} of their size"
        why = f"norms {change} from the first quarter of the steps to the last"
        if is_growing or not evidence.is_calm:
            yield Remedy("threshold that follows the norms", why, remedy.clip_by("Auto", f"{AUTO_PERCENTILE}"))
    may_clip_parts = not (evidence.spiking_parameter or evidence.is_mostly_clipped)
    if may_clip_parts and evidence.one_tensor_dominates:
        yield clip_each_tensor(evidence, f"{evidence.dominant_tensor} alone determines how all tensors are clipped")
