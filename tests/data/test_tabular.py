import numpy as np
import pytest
import torch

from gradclip.data.sources import diabetes, regression
from gradclip.data.tabular import TabularData
from gradclip.errors import DataError


def test_training_batches_follow_the_sampler():
    data = TabularData(regression(), batch_size=32, seed=3)
    loader = data.train_dataloader()
    inputs, target = data.sets["train"].tensors
    batches = list(loader)
    assert [len(batch[0]) for batch in batches] == [32] * 15 + [20]
    for positions, batch in zip(loader.sampler, batches, strict=True):
        assert torch.equal(batch[0], inputs[positions])
        assert torch.equal(batch[1], target[positions])


def test_validation_loaders_have_all_training_and_all_test_rows_in_order():
    table = regression()
    loaders = TabularData(table).val_dataloader()
    for loader, rows in zip(loaders, (table.train_rows, table.test_rows), strict=True):
        inputs, target = (torch.cat(parts).numpy() for parts in zip(*loader, strict=True))
        np.testing.assert_allclose(inputs, table.features.to_numpy()[rows], rtol=1e-6)
        np.testing.assert_allclose(target[:, 0], table.target.to_numpy()[rows], rtol=1e-6)


def test_scaled_training_rows_have_mean_zero_and_deviation_one():
    data = TabularData(diabetes(), scale_inputs="standard", scale_target="standard")
    for tensor in data.sets["train"].tensors:
        torch.testing.assert_close(tensor.mean(0), torch.zeros(tensor.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(tensor.std(0, correction=0), torch.ones(tensor.shape[1]), atol=1e-5, rtol=0)
    assert data.shape.example == (10,)


@pytest.mark.parametrize(
    ("table", "batch_size", "message"),
    [
        (regression(samples=40), 32, r"^trainer.batch_size: got 32; there are 20 training rows$"),
        (regression(samples=100, test_fraction=0.001), 32, r"^data.test_fraction: leaves none of 100 rows to test$"),
    ],
)
def test_too_few_rows_are_refused(table, batch_size, message):
    with pytest.raises(DataError, match=message):
        TabularData(table, batch_size=batch_size)
