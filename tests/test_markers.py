"""Every test automatically gets exactly one of the markers unit, command, server and browser."""

from types import SimpleNamespace

import pytest

from tests.conftest import KINDS, ROOT, kind_of


def test_every_test_has_one_kind(request: pytest.FixtureRequest) -> None:
    assert "request" in request.node.fixturenames  # pytest does not document fixturenames
    for item in request.session.items:
        assert len({mark.name for mark in item.iter_markers()} & set(KINDS)) == 1, item.nodeid


@pytest.mark.parametrize(
    ("path", "fixtures", "by_hand", "kind"),
    [
        ("tests/test_norms.py", [], [], "unit"),
        ("src/gradclip/norms.py", [], [], "unit"),
        ("tests/test_norms.py", ["train", "command", "start"], [], "command"),
        ("tests/commands/test_quick_answers.py", [], [], "command"),
        ("tests/commands/test_train.py", ["train", "command", "start", "server"], [], "server"),
        ("tests/tracking/test_delivery.py", ["database"], [], "server"),
        ("tests/compare/test_comparison.py", ["store"], [], "server"),
        ("tests/commands/test_mlflow_pages.py", ["server", "browser"], [], "browser"),
        ("tests/commands/test_fuzz.py", [], ["unit"], "unit"),
    ],
)
def test_the_kind_follows_from_marker_fixtures_and_folder(
    path: str, fixtures: list[str], by_hand: list[str], kind: str
) -> None:
    item = SimpleNamespace(path=ROOT / path, fixturenames=fixtures)
    item.get_closest_marker = lambda name: name if name in by_hand else None
    assert kind_of(item) == kind
