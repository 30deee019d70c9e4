"""The clipping coefficient is found from a sample of elements, or is unknown if they do not determine one."""

import numpy as np
import pytest
import torch
from torch import nn

from gradclip.telemetry.recorders import MeasuringRecorder
from gradclip.telemetry.rescaled import GradientVersions, Sample
from gradclip.telemetry.steps import Effect, StepIndex


def measured(change, effect):
    """Return the norms after clipping, as a recorder measures them and as computed from the gradients."""
    parameters = [nn.Parameter(torch.zeros(size)) for size in (3, 5)]
    for parameter in parameters:
        parameter.grad = torch.arange(1.0, len(parameter) + 1)
    recorder = MeasuringRecorder([(str(i), p) for i, p in enumerate(parameters)], effect)
    recorder.record_gradients(measure_updates=False)
    change(parameters)
    recorder.record_step(StepIndex(1, 1, 0), None, [])
    norms = [0.0 if parameter.grad is None else parameter.grad.double().norm().item() for parameter in parameters]
    return recorder.flush().norms_clipped[0], norms


def multiply(factor):
    return lambda gradient: gradient.mul_(factor)


def for_each(*changes):
    """Return a function that applies changes to the gradient of each parameter."""

    def apply(parameters):
        for parameter in parameters:
            for change in changes:
                change(parameter.grad)

    return apply


def decay(gradient):
    gradient.add_(1.0)


def replace(parameters):
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)


def set_to_none(parameters):
    for parameter in parameters:
        parameter.grad = None


CHANGES = {
    "unchanged": for_each(),
    "multiplied": for_each(multiply(0.3)),
    "multiplied by 1": for_each(multiply(1.0)),
    "multiplied by 0": for_each(multiply(0.0)),
    "multiplied by NaN": for_each(multiply(torch.nan)),
    "multiplied and decayed": for_each(multiply(0.3), decay),
    "decayed without a trace": for_each(multiply(0.3), lambda gradient: decay(gradient.data)),  # .data is not counted
    "one gradient decayed": lambda parameters: decay(parameters[0].grad),
    "replaced": replace,
    "set to None": set_to_none,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("effect", list(Effect))
def test_recorded_norms_after_clipping_are_right_for_any_change_of_the_gradients(change, effect):
    found, expected = measured(change, effect)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_coefficient_of_unchanged_gradients_is_exactly_one():
    gradients = [torch.randn(10), torch.randn(10_000)]
    sample = Sample(gradients, torch.tensor([1.0, 2.0]))
    assert sample.coefficient(gradients) == 1.0


@pytest.mark.parametrize("gradient", [torch.tensor([torch.nan]), torch.zeros(3), torch.ones(3, dtype=torch.bfloat16)])
def test_gradients_that_do_not_determine_a_coefficient_have_none(gradient):
    assert Sample([gradient], gradient.double().norm()[None]).coefficient([gradient]) is None


def test_changes_in_place_are_counted_unless_a_gradient_was_replaced():
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    parameters[0].grad = torch.ones(2)
    versions = GradientVersions(parameters[:1])
    assert versions.count_changes(parameters[:1]) == 0
    parameters[0].grad.mul_(2).add_(1)
    assert versions.count_changes(parameters[:1]) == 2
    assert GradientVersions(parameters[1:]).count_changes(parameters[1:]) == 0
    parameters[0].grad = torch.ones(2)
    assert versions.count_changes(parameters[:1]) is None


def test_gradients_made_in_inference_mode_have_no_count():
    parameters = [nn.Parameter(torch.zeros(2))]
    with torch.inference_mode():
        parameters[0].grad = torch.ones(2)
    assert GradientVersions(parameters).count_changes(parameters) is None
