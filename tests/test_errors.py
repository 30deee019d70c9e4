"""Messages of errors suggest the nearest name and count the names that they leave out."""

import pytest

from gradclip.errors import did_you_mean, first_few


@pytest.mark.parametrize(
    ("name", "allowed", "expected"),
    [
        ("clip.valu", ["clip.value", "seed"], " (did you mean 'clip.value'?)"),
        ("nrom", iter(["none", "norm", "value"]), " (did you mean 'norm'?)"),
        ("zzz", ["clip.value", "seed"], ""),
        ("norm", [], ""),
        ("", ["norm"], ""),
    ],
)
def test_the_most_similar_name_is_suggested_if_there_is_one(name, allowed, expected):
    assert did_you_mean(name, allowed) == expected


def test_the_names_that_are_not_shown_are_counted_of_an_iterator_too():
    assert first_few(iter("abc"), most=2) == "a, b and 1 more"
