"""The table of methods in the documentation is current, and its column on non-finite gradients is correct."""

import runpy

import pytest
import torch

from gradclip.clipping.base import Clipper
from gradclip.clipping.build import METHODS
from tests.clipping.test_contract import CONFIGS, SHORT_WARMUP, draw, make
from tests.conftest import ROOT

SCRIPT = runpy.run_path(str(ROOT / "docs" / "methods_table.py"))
TABLES = {ROOT / "README.md": SCRIPT["table"](SCRIPT["SHORT"]), ROOT / "docs" / "methods.md": SCRIPT["table"]()}
CELLS = {name: SCRIPT["cells"](clipper)["Non-finite gradients"] for name, clipper in METHODS.items()}
LIKE_NORM = {name: cell for name, cell in CELLS.items() if "all NaN" in cell or cell.startswith("as in `norm`")}


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_a_page_has_the_current_table(page):
    assert page.read_text() == SCRIPT["updated"](page.read_text()), f"run: python docs/methods_table.py {page.name}"
    assert f"\n\n{TABLES[page]}\n\n" in page.read_text()


def test_every_option_has_a_row():
    rows = SCRIPT["table"]().splitlines()[2:]
    assert sorted(row.split("`")[1] for row in rows) == sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert all(row.count(" |") == 4 for row in rows)


def test_a_clipper_without_a_rule_in_its_docstring_is_refused():
    with pytest.raises(ValueError, match="its docstring has no paragraph that begins with Rule:"):
        SCRIPT["cells"](Clipper)


@pytest.mark.parametrize("name", LIKE_NORM)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_element_has_the_effect_that_the_table_states(name, bad):
    clipper, gradients = make(name, **SHORT_WARMUP.get(name, {})), draw()
    state = clipper.init(gradients)
    for _ in range(6):
        _, state, _ = clipper(gradients, gradients, state)
    gradients["weight"][1, 2] = bad
    clipped, _, _ = clipper(gradients, draw(), state)
    affected = {key: torch.full_like(gradient, "that" not in CELLS[name]).bool() for key, gradient in gradients.items()}
    affected["weight"][1 if "that unit" in CELLS[name] else ...] = True
    for key, mask in affected.items():
        assert (clipped[key][~mask].isfinite() & (clipped[key][~mask] != 0)).all()
        assert (clipped[key][mask].isnan() if bad != torch.inf else clipped[key][mask].nan_to_num() == 0).all()
    assert clipped["weight"][1, 2].isnan()


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        ("none", "unchanged", [torch.nan, torch.inf, -torch.inf, 1.0]),
        ("value", "an infinity becomes the nearer bound, NaN stays", [torch.nan, 5.0, -5.0, 1.0]),
        ("skip", "skipped, at most `clip.patience` in a row", [0.0] * 4),
    ],
)
def test_other_methods_treat_non_finite_elements_as_the_table_states(name, cell, expected):
    bad = {"weight": torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0])}
    clipped, _, _ = make(name)(bad, bad, make(name).init(bad))
    assert CELLS[name] == cell
    torch.testing.assert_close(clipped["weight"], torch.tensor(expected), rtol=0, atol=0, equal_nan=True)
