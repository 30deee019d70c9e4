"""The arms of a confirmation: the settings that are trained beside those that are advised."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge, setting_of
from gradclip.config.schema import flatten
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.remedy import Remedy, adam, learning_rate, no_clipping, normalize
from gradclip.diagnosis.suggestions import (
    UNCLIPPED_EQUIVALENT,
    UNCLIPPED_SAME_RATE,
    scaled_target,
    unclipped,
    unclipped_equivalent,
)

ORIGINAL, ADVISED, CLIPPING, NORMALIZED = "original", "advised", "clipping as suggested", "always normalized"
ADVISED_UNCLIPPED = {  # by what its learning rate is
    UNCLIPPED_EQUIVALENT: "advised, but unclipped at a smaller learning rate",
    UNCLIPPED_SAME_RATE: "advised, but unclipped",
}
CONTROLS = {UNCLIPPED_EQUIVALENT, UNCLIPPED_SAME_RATE, NORMALIZED}  # of the run as it was
SMALLER_RATES = {
    "a tenth of the learning rate, no clipping": 0.1,
    "a hundredth of the learning rate, no clipping": 0.01,
}


@dataclass(frozen=True)
class Arm:
    """Settings that are compared with others.

    Attributes:
        name: its role in the comparison.
        overrides: of the command that trains it.
    """

    name: str
    overrides: tuple[str, ...]


def arms(evidence: Evidence, advice: Sequence[Remedy]) -> list[Arm]:
    """Return the run as it was, the advice, the plain remedies and the control arms, each training once.

    Args:
        evidence: of the run.
        advice: what to try, the first of which is the advice; where that does not clip, the first that does is an arm.
    """
    base = evidence.training.command or ()
    clipping = [(CLIPPING, remedy.changes) for remedy in advice if clips(remedy)][:1]
    others = [(remedy.what, remedy.changes) for remedy in (*plain_remedies(evidence), *controls(evidence))]
    changed = [*((ADVISED, remedy.changes) for remedy in advice[:1]), *clipping, *others]
    found = [Arm(ORIGINAL, tuple(base)), *(Arm(name, tuple(merge(base, changes))) for name, changes in changed)]
    return without_duplicates(found)


def clips(remedy: Remedy) -> bool:
    """Whether a remedy sets a method of clipping."""
    return any(setting_of(change) == "clip" and change != "clip=none" for change in remedy.changes)


def plain_remedies(evidence: Evidence) -> list[Remedy]:
    """Return what is tried first against an explosion, without clipping: a scaled target, smaller steps, Adam."""
    training, rate = evidence.training, evidence.learning_rate
    found = [unclipped(scaled_target(evidence.target_max_abs))] if training.can_scale_target else []
    for what, factor in SMALLER_RATES.items():
        found.append(Remedy(what, "steps may be too large", no_clipping() + learning_rate(f"{rate * factor:g}")))
    found.append(Remedy("Adam, no clipping", "its steps do not grow with the gradient", no_clipping() + adam()))
    return [remedy for remedy in found if not remedy.changes_any(training.fixed_groups)]


def controls(evidence: Evidence) -> list[Remedy]:
    """Return control arms that show whether a clipped run needs its clipping, or only smaller steps."""
    if not evidence.clips:
        return []
    found = [unclipped_equivalent(evidence)]
    if evidence.training.clip == "norm":
        why = "all steps have the same length; small gradients are enlarged"
        found.append(Remedy(NORMALIZED, why, normalize(f"{evidence.training.threshold}")))
    return [remedy for remedy in found if not remedy.changes_any(evidence.training.fixed_groups)]


def control_of_advice(advised: Evidence, known: Sequence[Arm]) -> list[Arm]:
    """Return the advised settings with a smaller learning rate in place of clipping, unless a known arm equals them.

    Args:
        advised: of a run with the advised settings, from whose steps the learning rate is derived.
        known: the other arms.
    """
    equivalent = unclipped_equivalent(advised)
    if not advised.clips or equivalent.changes_any(advised.training.fixed_groups):
        return []
    arm = Arm(ADVISED_UNCLIPPED[equivalent.what], tuple(merge(advised.training.command or (), equivalent.changes)))
    return without_duplicates([*known, arm])[len(known) :]


def without_duplicates(found: Sequence[Arm]) -> list[Arm]:
    """Leave out arms that train like one before them; a threshold has no effect where nothing is clipped."""
    distinct: dict[frozenset[tuple[str, str]], Arm] = {}
    for arm in found:
        parameters = flatten(compose_config(arm.overrides))
        if parameters["clip.name"] == "none":
            del parameters["clip.value"]
        distinct.setdefault(frozenset(parameters.items()), arm)
    return list(distinct.values())
