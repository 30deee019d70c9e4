"""Arms of a confirmation: the advised settings and those they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge, setting_of
from gradclip.config.schema import flatten
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.remedy import ADAM, NO_CLIPPING, Remedy, clip_by, optimizer_argument
from gradclip.diagnosis.suggestions import (
    UNCLIPPED_EQUIVALENT,
    UNCLIPPED_SAME_RATE,
    scaled_target,
    unclipped,
    unclipped_equivalent,
)

ORIGINAL, ADVISED, CLIPPING, NORMALIZED = "original", "advised", "clipping as suggested", "always normalized"
ADVISED_UNCLIPPED = {  # name of the control arm of the advice, by its remedy
    UNCLIPPED_EQUIVALENT: "advised, but unclipped at a smaller learning rate",
    UNCLIPPED_SAME_RATE: "advised, but unclipped",
}
CONTROLS = {UNCLIPPED_EQUIVALENT, UNCLIPPED_SAME_RATE, NORMALIZED}  # control arms of the original settings
SMALLER_RATES = {
    "a tenth of the learning rate, no clipping": 0.1,
    "a hundredth of the learning rate, no clipping": 0.01,
}


@dataclass(frozen=True)
class Arm:
    """Settings that are compared with others.

    Attributes:
        name: role of the arm in the comparison.
        overrides: overrides of the command that trains the arm.
    """

    name: str
    overrides: tuple[str, ...]


def arms(evidence: Evidence, advice: Sequence[Remedy]) -> list[Arm]:
    """Return the original settings, the advice, the plain remedies and the control arms, without duplicates.

    The first remedy to try is the advice, and the first one that clips is an arm too.
    """
    base = evidence.training.command or ()
    clipping = [(CLIPPING, remedy.changes) for remedy in advice if clips(remedy)][:1]
    others = [(remedy.what, remedy.changes) for remedy in (*plain_remedies(evidence), *controls(evidence))]
    changed = [*((ADVISED, remedy.changes) for remedy in advice[:1]), *clipping, *others]
    found = [Arm(ORIGINAL, tuple(base)), *(Arm(name, tuple(merge(base, changes))) for name, changes in changed)]
    return without_duplicates(found)


def clips(remedy: Remedy) -> bool:
    """Return whether a remedy chooses a clipping method."""
    return any(setting_of(change) == "clip" and change != "clip=none" for change in remedy.changes)


def plain_remedies(evidence: Evidence) -> list[Remedy]:
    """Return the usual remedies against an explosion without clipping: a scaled target, smaller steps, Adam."""
    training, rate = evidence.training, evidence.learning_rate
    found = [unclipped(scaled_target(evidence.target_max_abs))] if training.can_scale_target else []
    for what, factor in SMALLER_RATES.items():
        how = NO_CLIPPING + optimizer_argument("lr", f"{rate * factor:g}")
        found.append(Remedy(what, "steps may be too large", how))
    found.append(Remedy("Adam, no clipping", "its steps do not grow with the gradient", NO_CLIPPING + ADAM))
    return [remedy for remedy in found if not remedy.changes_any(training.fixed_groups)]


def controls(evidence: Evidence) -> list[Remedy]:
    """Return the control arms that show whether a clipped run needs its clipping, or only smaller steps.

    There are none if the clipping never changed a gradient.
    """
    if not evidence.clips or evidence.clip_fraction == 0:
        return []
    found = [unclipped_equivalent(evidence)]
    if evidence.training.clip == "norm":
        why = "all steps have the same length; small gradients are enlarged"
        found.append(Remedy(NORMALIZED, why, clip_by("Normalize", f"{evidence.training.threshold}")))
    return [remedy for remedy in found if not remedy.changes_any(evidence.training.fixed_groups)]


def control_of_advice(advised: Evidence, known: Sequence[Arm]) -> list[Arm]:
    """Return the advised settings with a smaller learning rate instead of clipping; nothing if a known arm equals them.

    The steps of a run with the advised settings determine the learning rate.
    """
    equivalent = unclipped_equivalent(advised)
    if not advised.clips or equivalent.changes_any(advised.training.fixed_groups):
        return []
    arm = Arm(ADVISED_UNCLIPPED[equivalent.what], tuple(merge(advised.training.command or (), equivalent.changes)))
    return without_duplicates([*known, arm])[len(known) :]


def without_duplicates(found: Sequence[Arm]) -> list[Arm]:
    """Drop arms that train like an earlier arm; without clipping, the threshold is ignored."""
    distinct: dict[frozenset[tuple[str, str]], Arm] = {}
    for arm in found:
        parameters = flatten(compose_config(arm.overrides))
        if parameters["clip.name"] == "none":
            del parameters["clip.value"]
        distinct.setdefault(frozenset(parameters.items()), arm)
    return list(distinct.values())
