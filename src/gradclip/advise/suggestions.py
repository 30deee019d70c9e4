"""What evidence suggests: settings to try with their reasons, and control arms."""

from collections.abc import Iterator
from dataclasses import dataclass

from numpy import fmin

from gradclip.advise.evidence import Evidence, Norms

MOSTLY = 0.5  # share of clipped steps, above which clipping is a smaller learning rate in disguise
LARGE_TARGET = 10.0  # of a standardized target hardly any value is as large
LARGE_UPDATE = 0.1  # share of a weight's norm in one step; about 0.001 is usual
DRIFT = 10.0  # factor of the norm between start and end, above which one threshold hardly fits both
START = 10.0  # first norm over the median, above which the start is the trouble
RESTLESS = 2.0  # final score over the best, above which training wanders at its end
ONE_ELEMENT = 0.5  # share of the squared norm
SMALLER_STEP = "a smaller rate, no clipping"
LOWEST, HIGHEST = 0.5, 10.0  # times the average norm: where thresholds work well (Pascanu et al. 2013)


@dataclass(frozen=True)
class Suggestion:
    """Something to try.

    Attributes:
        name: in a few words.
        changes: overrides, in place of the run's own.
        why: the reason, with numbers.
    """

    name: str
    changes: tuple[str, ...]
    why: str


def suggest(measured: Evidence, asked: Evidence) -> list[Suggestion]:
    """What to try, the advice first, then other remedies that the evidence speaks for.

    Args:
        measured: the run whose norms count: that which was asked about, or a probe.
        asked: the run that was asked about.
    """
    clipping = _clipping(measured, holds_steps(asked))
    return [*_fewer_epochs(asked), *clipping, *_step_size(asked), *_causes(asked), *_changing_threshold(measured)]


def threshold_range(evidence: Evidence) -> tuple[float, float] | None:
    """Half to ten times the average norm (Pascanu et al. 2013); None where no step can be trusted."""
    norms = evidence.norms
    return None if norms is None else (LOWEST * norms.mean, HIGHEST * norms.mean)


def rounded(value: float) -> str:
    """Two digits are enough for something to try.

    Example:
        >>> rounded(173.4), rounded(0.0123)
        ('170', '0.012')
    """
    return f"{float(f'{value:.2g}'):g}"


def holds_steps(evidence: Evidence) -> bool:
    """Whether training only goes on because most of its steps are clipped, or ran away since none was."""
    return evidence.ran_away or (evidence.clips and evidence.clip_fraction > MOSTLY)


def _clipping(evidence: Evidence, hold: bool) -> Iterator[Suggestion]:
    norms = evidence.norms
    if norms is None:
        return
    if evidence.spiking_parameter:
        yield Suggestion(
            "each tensor by itself",
            ("clip=parameter_norm", f"clip.value={rounded(evidence.parameter_p90)}"),
            f"spikes are those of {evidence.spiking_parameter} alone, grown {evidence.spike_factor:.3g}-fold; the "
            f"threshold is the 90th percentile of a tensor's norm, {evidence.parameter_p90:.3g}",
        )
    if evidence.element_share > ONE_ELEMENT:
        yield Suggestion(
            "each element by itself",
            ("clip=value", f"clip.value={rounded(norms.value_p90)}"),
            f"in spikes one element has {evidence.element_share:.0%} of the squared norm; the threshold is the 90th "
            f"percentile of the largest element, {norms.value_p90:.3g}",
        )
    yield _norm_clipping(evidence, norms, hold)


def _norm_clipping(evidence: Evidence, norms: Norms, hold: bool) -> Suggestion:
    """The 90th percentile of a run that needs little clipping; less, and a falling rate, where steps must be held.

    Less is half of the average norm, the lower end of what Pascanu et al. found to work; or what keeps a step within a
    tenth of the weights, where even that would throw them about.
    """
    if not hold:
        changes = ("clip=norm", f"clip.value={rounded(norms.p90)}")
        return Suggestion("norm at its 90th percentile", changes, f"a tenth of the norms lie above it, {norms.p90:.3g}")
    half, falls = LOWEST * norms.mean, evidence.setting("schedule.name") != "constant"
    value = rounded(fmin(half, evidence.norm_for_10pct_step))
    why = f"most steps have to be held, and half of the average norm, {norms.mean:.3g}, is the least that is usual"
    if evidence.norm_for_10pct_step < half:
        why += f"; already at {value} a step changes the weights by a tenth of their norm"
    if falls:
        return Suggestion("norm below the usual ones", ("clip=norm", f"clip.value={value}"), why)
    why += "; steps of one length settle only as the rate falls"
    return Suggestion("norm, and a falling rate", ("clip=norm", f"clip.value={value}", "schedule=warmup_cosine"), why)


def _fewer_epochs(evidence: Evidence) -> Iterator[Suggestion]:
    """First of all where a run overfits: what makes it train better makes it overfit more."""
    if best := evidence.overfits_after:
        why = f"the test score was best after epoch {best}; to train better from there on is to learn by heart"
        yield Suggestion("fewer epochs", (f"trainer.max_epochs={best}",), why)


def _step_size(evidence: Evidence) -> Iterator[Suggestion]:
    if evidence.clips and evidence.clip_fraction > MOSTLY:
        yield same_step(evidence)
    elif evidence.ran_away and evidence.largest_update > LARGE_UPDATE:
        why = f"one step changed a parameter by {evidence.largest_update:.0%} of its norm"
        yield Suggestion("a smaller rate", (f"optimizer.lr={evidence.learning_rate / 10:g}",), why)
    if evidence.final_to_best_ratio > RESTLESS and evidence.setting("schedule.name") == "constant":
        ratio = f"{evidence.final_to_best_ratio:.3g}"
        why = f"the final test score is {ratio} times the best one: training wanders at its end"
        yield Suggestion("a falling rate alone", ("schedule=warmup_cosine",), why)


def same_step(evidence: Evidence) -> Suggestion:
    """The unclipped run whose steps are as long on average."""
    rate = evidence.learning_rate * evidence.coefficient
    why = f"clipping multiplies the gradient by {evidence.coefficient:.3g} on average, as this learning rate would"
    return Suggestion(SMALLER_STEP, ("clip=none", f"optimizer.lr={rounded(rate)}"), why)


def _causes(evidence: Evidence) -> Iterator[Suggestion]:
    if scalable(evidence):
        why = (
            f"the target reaches {evidence.target_max_abs:.4g}, and gradients grow with it; the cause, not the symptom"
        )
        yield scaled_target(why)
    if evidence.target_max_abs > LARGE_TARGET and evidence.setting("loss.name") == "mse":
        why = "large errors count squared; the derivative of this loss is bounded"
        yield Suggestion("another loss", ("clip=none", "loss=huber"), why)
    norms = evidence.norms
    if norms is not None and norms.first > START and evidence.setting("model.initialization"):
        why = f"the first gradient is {norms.first:.3g} times the median one: the weights start too large"
        yield Suggestion("another initialization", ("model.initialization=pytorch",), why)


def scalable(evidence: Evidence) -> bool:
    """Whether the target is large and not scaled, though it could be."""
    return evidence.target_max_abs > LARGE_TARGET and evidence.setting("data.scale_target") == "none"


def scaled_target(why: str) -> Suggestion:
    """The target scaled, and no clipping."""
    return Suggestion("a scaled target", ("clip=none", "data.scale_target=standard"), why)


def _changing_threshold(evidence: Evidence) -> Iterator[Suggestion]:
    norms = evidence.norms
    if norms is None or evidence.ran_away or 1 / DRIFT < norms.drift < DRIFT:
        return
    way = f"grow {norms.drift:.3g}-fold" if norms.drift > 1 else f"fall to {norms.drift:.2g} of what they were"
    why = f"norms {way} from the first quarter of the steps to the last"
    yield Suggestion("a threshold that follows the norms", ("clip=auto", "clip.value=10"), why)


def controls(evidence: Evidence) -> list[Suggestion]:
    """Arms that tell whether it is the clipping that helps a clipped run, or only a smaller step."""
    if not evidence.clips:
        return []
    arms = [same_step(evidence)]
    if evidence.setting("clip.name") == "norm":
        threshold = evidence.setting("clip.value")
        why = "every step of one length, small gradients made larger"
        arms.append(Suggestion("always normalized", ("clip=normalize", f"clip.value={threshold}"), why))
    return [*arms, *([scaled_target("smaller gradients from the start")] if scalable(evidence) else [])]
