"""`groups` clips each group of parameters with its own threshold and state; the first matching pattern counts."""

import pytest
import torch

from gradclip import Groups, Identity, Norm, Skip, Value
from gradclip.clipping.build import make_clipper
from gradclip.errors import ClippingError

GRADIENTS = {
    "hidden.weight": torch.tensor([3.0, 4.0]),
    "hidden.bias": torch.tensor([12.0]),
    "output.weight": torch.tensor([30.0, 40.0]),
}


def test_each_group_has_its_own_norm_and_threshold():
    clipper = Groups({"output.*": Norm(10.0)}, rest=Norm(1.3))
    clipped = clipper(GRADIENTS, GRADIENTS, clipper.init(GRADIENTS))[0]
    torch.testing.assert_close(clipped["output.weight"], torch.tensor([6.0, 8.0]))
    torch.testing.assert_close(clipped["hidden.weight"], torch.tensor([0.3, 0.4]))  # the joint norm is 13
    torch.testing.assert_close(clipped["hidden.bias"], torch.tensor([1.2]))
    assert list(clipped) == list(GRADIENTS)


def test_the_first_matching_pattern_applies_and_other_parameters_are_unchanged():
    clipper = Groups({"*.bias": Value(1.0), "hidden.*": Value(2.0)})
    clipped = clipper(GRADIENTS, GRADIENTS, clipper.init(GRADIENTS))[0]
    assert [gradient.max().item() for gradient in clipped.values()] == [2.0, 1.0, 40.0]


def test_a_group_may_use_any_method_and_keeps_its_state():
    clipper = Groups({"output.*": Skip(10.0)}, rest=Identity())
    state = clipper.init(GRADIENTS)
    assert set(state) == {"0.skipped", "0.in_a_row"}
    clipped, state, done = clipper(GRADIENTS, GRADIENTS, state)
    assert not clipped["output.weight"].any()
    assert clipper.may_skip
    assert done.skipped
    assert state["0.skipped"] == 1


def test_a_non_finite_gradient_does_not_affect_other_groups():
    gradients = GRADIENTS | {"output.weight": torch.tensor([torch.nan, 1.0])}
    clipper = Groups({"output.*": Norm(1.0)}, rest=Norm(1.3))
    clipped = clipper(gradients, gradients, clipper.init(gradients))[0]
    torch.testing.assert_close(clipped["hidden.bias"], torch.tensor([1.2]))


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ClippingError, match=r"got parameters='head.*'; must match one of the parameters hidden.weight"):
        Groups({"head.*": Norm(1.0)}).init(GRADIENTS)


def test_a_pattern_whose_parameters_belong_to_earlier_patterns_is_refused():
    with pytest.raises(ClippingError, match=r"^clip: got parameters='output.\*'; must come before the patterns that"):
        Groups({"*": Norm(1.0), "output.*": Norm(10.0)}).init(GRADIENTS)


def test_an_error_shows_only_a_few_of_thousands_of_names_and_the_nearest():
    named = {f"layers.{number}.weight": torch.zeros(1) for number in range(2000)}
    with pytest.raises(ClippingError) as caught:
        Groups({"layer.7.weight": Norm(1.0)}).init(named)
    assert len(str(caught.value)) < 300
    assert str(caught.value).startswith("clip: got parameters='layer.7.weight' (did you mean 'layers.7.weight'?); must")
    assert str(caught.value).endswith(" and 1,992 more")


def test_settings_build_one_method_with_a_threshold_for_each_pattern():
    groups = [{"parameters": "output.*", "value": 10.0}]
    clipper = make_clipper("groups", method="norm", value=1.3, groups=groups)
    assert clipper == Groups({"output.*": Norm(10.0)}, rest=Norm(1.3))
