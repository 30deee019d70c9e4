"""Settings to try, with the reasons in the evidence, and control arms to compare them with."""

from collections.abc import Iterator
from dataclasses import dataclass

from numpy import fmin

from gradclip.advise.evidence import Evidence, Norms

MOSTLY_CLIPPED = 0.5  # fraction of clipped steps, above which clipping acts like a smaller learning rate
LARGE_TARGET = 10.0  # magnitude; a standardized target hardly ever reaches it
LARGE_UPDATE_RATIO = 0.1  # change of a parameter in one step over its norm; about 0.001 is usual
LARGE_DRIFT = 10.0  # factor of the norm between start and end, beyond which one threshold hardly fits both
LARGE_FIRST_NORM = 10.0  # first norm over the median, above which the initial weights are too large
UNSTABLE_END = 2.0  # final over best score, above which training is unstable at its end
DOMINANT_ELEMENT = 0.5  # fraction of the squared norm that one element has
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.5, 10.0  # times the average norm; usual thresholds (Pascanu et al. 2013)
UNCLIPPED_EQUIVALENT = "smaller learning rate, no clipping"


@dataclass(frozen=True)
class Suggestion:
    """Settings to try.

    Attributes:
        name: in a few words.
        changes: overrides that replace the run's own.
        why: the reason, with numbers.
    """

    name: str
    changes: tuple[str, ...]
    why: str


def suggest(measured: Evidence, run: Evidence) -> list[Suggestion]:
    """Return settings to try: the advice first, then other remedies that the evidence supports.

    Args:
        measured: of the run whose norms are used: the run itself, or a probe.
        run: of the run that the advice is for.
    """
    clipping = _clipping(measured, needs_strong_clipping(run))
    found = [*_fewer_epochs(run), *clipping, *_step_size(run), *_causes(run), *_adaptive_threshold(measured)]
    return [suggestion for suggestion in found if all(map(run.has, suggestion.changes))]


def threshold_range(evidence: Evidence) -> tuple[float, float] | None:
    """Return half and ten times the average norm (Pascanu et al. 2013); None where no step is usable."""
    norms = evidence.norms
    return None if norms is None else (LOWEST_THRESHOLD * norms.mean, HIGHEST_THRESHOLD * norms.mean)


def rounded(value: float) -> str:
    """Format a setting to try with two digits.

    Example:
        >>> rounded(173.4), rounded(0.0123)
        ('170', '0.012')
    """
    return f"{float(f'{value:.2g}'):g}"


def needs_strong_clipping(evidence: Evidence) -> bool:
    """Whether most steps must be clipped: most of the run's steps are, or the run exploded."""
    return evidence.exploded or (evidence.clips and evidence.clip_fraction > MOSTLY_CLIPPED)


def _clipping(evidence: Evidence, strong: bool) -> Iterator[Suggestion]:
    norms = evidence.norms
    if norms is None:
        return
    if evidence.spiking_parameter:
        yield Suggestion(
            "clip each tensor separately",
            ("clip=parameter_norm", f"clip.value={rounded(evidence.parameter_p90)}"),
            f"only {evidence.spiking_parameter} spikes, {evidence.spike_factor:.3g}-fold; the threshold is the 90th "
            f"percentile of a tensor's norm, {evidence.parameter_p90:.3g}",
        )
    if evidence.element_share > DOMINANT_ELEMENT:
        yield Suggestion(
            "clip each element separately",
            ("clip=value", f"clip.value={rounded(norms.value_p90)}"),
            f"in spikes one element has {evidence.element_share:.0%} of the squared norm; the threshold is the 90th "
            f"percentile of the largest element, {norms.value_p90:.3g}",
        )
    yield _norm_clipping(evidence, norms, strong)


def _norm_clipping(evidence: Evidence, norms: Norms, strong: bool) -> Suggestion:
    """Suggest the 90th percentile of the norms or, where most steps must be clipped, less and a decaying rate.

    Less is half of the average norm, the lower end of what Pascanu et al. found to work; or the norm at which a step
    changes the weights by 10%, where that is smaller.
    """
    if not strong:
        changes = ("clip=norm", f"clip.value={rounded(norms.p90)}")
        return Suggestion("norm at its 90th percentile", changes, f"10% of the norms are above it, {norms.p90:.3g}")
    half = LOWEST_THRESHOLD * norms.mean
    value = rounded(fmin(half, evidence.norm_for_10pct_step))
    changes = ("clip=norm", f"clip.value={value}")
    why = f"most steps have to be clipped, and thresholds below half of the average norm, {norms.mean:.3g}, are unusual"
    if evidence.norm_for_10pct_step < half:
        why += f"; at {value} a step already changes the weights by 10% of their norm"
    if evidence.setting("schedule.name") != "constant":
        return Suggestion("norm below the usual thresholds", changes, why)
    why += "; steps of constant length converge only as the learning rate decays"
    return Suggestion("norm, with learning rate decay", (*changes, "schedule=warmup_cosine"), why)


def _fewer_epochs(evidence: Evidence) -> Iterator[Suggestion]:
    """Suggest early stopping before anything else where a run overfits: what trains better overfits more."""
    if best := evidence.overfits_after_epoch:
        why = f"the test score was best after epoch {best}; training better from there on only overfits more"
        yield Suggestion("fewer epochs", (f"trainer.max_epochs={best}",), why)


def _step_size(evidence: Evidence) -> Iterator[Suggestion]:
    if evidence.clips and evidence.clip_fraction > MOSTLY_CLIPPED:
        yield unclipped_equivalent(evidence)
    elif evidence.exploded and evidence.largest_update_ratio > LARGE_UPDATE_RATIO:
        why = f"one step changed a parameter by {evidence.largest_update_ratio:.0%} of its norm"
        yield Suggestion("smaller learning rate", (f"optimizer.lr={evidence.learning_rate / 10:g}",), why)
    if evidence.final_to_best_ratio > UNSTABLE_END and evidence.setting("schedule.name") == "constant":
        ratio = f"{evidence.final_to_best_ratio:.3g}"
        why = f"the final test score is {ratio} times the best one: training is unstable at its end"
        yield Suggestion("learning rate decay alone", ("schedule=warmup_cosine",), why)


def unclipped_equivalent(evidence: Evidence) -> Suggestion:
    """Suggest no clipping, with the learning rate whose steps are as long on average."""
    rate = evidence.learning_rate * evidence.coefficient
    why = f"clipping multiplies the gradient by {evidence.coefficient:.3g} on average, as this learning rate would"
    return Suggestion(UNCLIPPED_EQUIVALENT, ("clip=none", f"optimizer.lr={rounded(rate)}"), why)


def _causes(evidence: Evidence) -> Iterator[Suggestion]:
    if can_scale_target(evidence):
        magnitude = f"{evidence.target_max_abs:.4g}"
        why = f"the target reaches {magnitude}, and gradients grow with it; scaling it removes the cause"
        yield scaled_target(why)
    if evidence.target_max_abs > LARGE_TARGET and evidence.setting("loss.name") == "mse":
        why = "MSE counts large errors squared; the derivative of this loss is bounded"
        yield Suggestion("another loss", ("clip=none", "loss=huber"), why)
    norms = evidence.norms
    if norms is not None and norms.first > LARGE_FIRST_NORM and evidence.setting("model.initialization"):
        why = f"the first gradient norm is {norms.first:.3g} times the median: the initial weights are too large"
        yield Suggestion("another initialization", ("model.initialization=pytorch",), why)


def can_scale_target(evidence: Evidence) -> bool:
    """Whether the target is large and its scaling is a setting that is off."""
    return evidence.target_max_abs > LARGE_TARGET and evidence.setting("data.scale_target") == "none"


def scaled_target(why: str) -> Suggestion:
    """Suggest a standardized target without clipping."""
    return Suggestion("scaled target", ("clip=none", "data.scale_target=standard"), why)


def _adaptive_threshold(evidence: Evidence) -> Iterator[Suggestion]:
    norms = evidence.norms
    if norms is None or evidence.exploded or 1 / LARGE_DRIFT < norms.drift < LARGE_DRIFT:
        return
    change = f"grow {norms.drift:.3g}-fold" if norms.drift > 1 else f"fall to {norms.drift:.2g} of their size"
    why = f"norms {change} from the first quarter of the steps to the last"
    yield Suggestion("threshold that follows the norms", ("clip=auto", "clip.value=10"), why)


def controls(evidence: Evidence) -> list[Suggestion]:
    """Return control arms that show whether a clipped run needs its clipping, or only smaller steps."""
    if not evidence.clips:
        return []
    arms = [unclipped_equivalent(evidence)]
    if evidence.setting("clip.name") == "norm":
        threshold = evidence.setting("clip.value")
        why = "all steps have the same length; small gradients are enlarged"
        arms.append(Suggestion("always normalized", ("clip=normalize", f"clip.value={threshold}"), why))
    arms += [scaled_target("smaller gradients from the start")] if can_scale_target(evidence) else []
    return [arm for arm in arms if all(map(evidence.has, arm.changes))]
