"""The norm of a row does not depend on the rows that are measured with it."""

import numpy as np
import pytest

from gradclip.norms.arrays import row_norms, row_part_norms


@pytest.mark.parametrize("elements", [1, 7, 8, 40, 551])
@pytest.mark.parametrize(
    "norms", [row_norms, lambda rows: row_part_norms(rows, sorted({0, rows.shape[1] // 2}))], ids=["rows", "parts"]
)
def test_the_norm_of_a_row_is_the_same_to_the_last_digit_whichever_rows_are_measured_with_it(elements, norms):
    rows = np.random.default_rng(0).standard_normal((21, elements)) * 10.0 ** np.arange(-10, 11)[:, None]
    rows[7], rows[8], rows[9, 0], rows[10] = 0.0, 1e200, np.nan, 1e-200
    together = norms(rows)
    for size in (1, 2, 5, 20):
        blocks = [norms(rows[start : start + size]) for start in range(0, len(rows), size)]
        np.testing.assert_array_equal(np.concatenate(blocks), together)
    assert norms(rows[:0]).size == 0
