"""The data module of a table gives all rows of each split, scaled and scored by the training rows."""

import numpy as np
import pytest
import torch

from gradclip.data.sources import diabetes, regression
from gradclip.data.tabular import TabularData
from gradclip.errors import DataError


def test_training_batches_follow_the_order_of_the_sampler():
    data = TabularData(regression(), batch_size=32, seed=3)
    loader = data.train_dataloader()
    inputs, target = data.sets["train"].tensors
    batches = list(loader)
    assert [len(batch[0]) for batch in batches] == [32] * 15 + [20]
    for positions, batch in zip(loader.sampler, batches, strict=True):
        assert torch.equal(batch[0], inputs[positions])
        assert torch.equal(batch[1], target[positions])


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_validation_loaders_have_all_rows_of_each_split_in_order(fraction):
    table = regression(validation_fraction=fraction)
    data = TabularData(table)
    assert data.splits == (("train", "validation", "test") if fraction else ("train", "test"))
    for loader, rows in zip(data.val_dataloader(), table.rows.values(), strict=True):
        inputs, target = (torch.cat(parts).numpy() for parts in zip(*loader, strict=True))
        np.testing.assert_allclose(inputs, table.features.to_numpy()[rows], rtol=1e-6)
        np.testing.assert_allclose(target[:, 0], table.target.to_numpy()[rows], rtol=1e-6)


def test_score_scale_and_scaling_use_only_the_training_rows():
    data = TabularData(diabetes(validation_fraction=0.2), scale_target="standard")
    trained = data.table.target.iloc[data.table.rows["train"]]
    assert data.score_scale.baseline == pytest.approx(np.var(trained))
    for split, rows in data.table.rows.items():
        error = np.mean((data.table.target.iloc[rows] - trained.mean()) ** 2)
        assert data.score_scale.baseline_on(split) == pytest.approx(error)
    assert data.target_scale == pytest.approx(np.std(trained))


def test_scaled_training_rows_have_mean_zero_and_deviation_one():
    data = TabularData(diabetes(), scale_inputs="standard", scale_target="standard")
    for tensor in data.sets["train"].tensors:
        torch.testing.assert_close(tensor.mean(0), torch.zeros(tensor.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(tensor.std(0, correction=0), torch.ones(tensor.shape[1]), atol=1e-5, rtol=0)
    assert data.shape.example == (10,)


def test_too_few_rows_for_a_batch_are_refused():
    with pytest.raises(DataError, match=r"^trainer.batch_size: got 32; there are 20 training rows$"):
        TabularData(regression(samples=40), batch_size=32)
    with pytest.raises(DataError, match=r"^trainer.batch_size: got 0; must be a whole number from 1 to 2147483647$"):
        TabularData(regression(), batch_size=0)
