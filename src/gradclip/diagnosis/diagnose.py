"""Diagnosis of a training run: from a record, or any log of norms, to findings and remedies."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from gradclip.diagnosis.conditions import DEFAULT_EPSILON
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.findings import Finding, find
from gradclip.diagnosis.finite_statistics import null_nonfinite
from gradclip.diagnosis.gathering import gather_evidence
from gradclip.diagnosis.log import Training, as_log
from gradclip.diagnosis.open_questions import open_questions
from gradclip.diagnosis.remedy import Loop, Remedy
from gradclip.diagnosis.suggestions import suggest
from gradclip.errors import DataError, check_choice
from gradclip.telemetry.record import GradientRecord


@dataclass(frozen=True)
class Diagnosis:
    """Findings and remedies for a training run; ``str`` returns them as text, :meth:`to_json` as JSON.

    Attributes:
        findings: problems, and facts that only describe the training run.
        remedies: what to try; the first is the advice.
        unknown: questions that stay open, each with the data that would answer it.
        loop: form in which remedies are written: for our command, for Lightning, for plain torch or for a watched loop.
    """

    findings: tuple[Finding, ...]
    remedies: tuple[Remedy, ...]
    unknown: tuple[str, ...] = ()
    loop: Loop = "torch"

    @property
    def is_healthy(self) -> bool:
        """Whether no finding is a problem."""
        return not any(finding.is_problem for finding in self.findings)

    def to_json(self) -> str:
        """Return the diagnosis as JSON; non-finite numbers are null."""
        content = asdict(self) | {"is_healthy": self.is_healthy}
        return json.dumps(null_nonfinite(content), indent=2, allow_nan=False)

    def __str__(self) -> str:
        """Return the diagnosis as text, with an exclamation mark before each problem."""
        lines = ["Findings:", *(f"{'!' if finding.is_problem else ' '} {finding}" for finding in self.findings)]
        lines += ["", "What to try:" if self.remedies else "Nothing to try."]
        lines += [line for remedy in self.remedies for line in remedy.lines(self.loop)]
        if self.unknown:
            lines += ["", "Not known from this log:", *(f"  {what}" for what in self.unknown)]
        return "\n".join(lines)


def diagnose(
    record: GradientRecord | Mapping[str, ArrayLike],
    *,
    optimizer: str = "",
    learning_rate: float = np.nan,
    epsilon: float = DEFAULT_EPSILON,
    elements: int = 0,
    max_norm: float = np.nan,
    names: Mapping[str, str] | None = None,
    loop: Loop = "torch",
) -> Diagnosis:
    """Diagnose a training run from the norms of its gradients.

    The more columns a log has, the more can be found; a record of gradclip has all of them.

    Args:
        record: the record of a training run; or a log, as columns by name: ``step`` and ``grad_norm`` are required.
        optimizer: name of the optimizer, such as ``adamw`` or ``torch.optim.SGD``.
        learning_rate: the initial learning rate.
        epsilon: constant that Adam-like optimizers add to the denominator.
        elements: number of trained weights.
        max_norm: the threshold, if gradients were clipped by their norm.
        names: maps our names to columns whose names are not recognized, such as ``{"grad/norm": "total"}``.
        loop: form in which remedies are written: for our ``command``, for ``lightning``, for plain ``torch`` or for a
            loop with a ``watch``.

    Raises:
        DataError: the log has no steps or no norms, a column has another length or holds a value that is not a number,
            a norm is negative, or ``loop`` is unknown.

    Example:
        >>> found = diagnose({"step": range(100), "grad_norm": [1.0] * 50 + [30.0] + [1.0] * 49})
        >>> [finding.kind for finding in found.findings if finding.is_problem]
        ['spikes']
        >>> found.remedies[0].how.torch
        ('torch.nn.utils.clip_grad_norm_(model.parameters(), 1)',)
    """
    check_choice("loop", loop, get_args(Loop), DataError)
    training = Training(
        optimizer=optimizer, learning_rate=learning_rate, epsilon=epsilon, elements=elements, threshold=max_norm
    )
    if isinstance(record, GradientRecord) and record.divergence is not None:
        training = replace(training, outcome="diverged")
    return diagnose_evidence(gather_evidence(as_log(record, names), training), loop)


def diagnose_evidence(evidence: Evidence, loop: Loop, probe: Evidence | None = None) -> Diagnosis:
    """Diagnose a training run from its evidence.

    Args:
        evidence: evidence from the training run.
        loop: form in which remedies are written.
        probe: evidence from a short run that measured norms; None without one.
    """
    remedies = suggest(probe or evidence, evidence)
    return Diagnosis(tuple(find(evidence, probe)), tuple(remedies), tuple(open_questions(evidence)), loop)
