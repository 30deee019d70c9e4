"""Batches depend only on seed and epoch, are divided among processes without overlap, and can be resumed."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.utils.data import TensorDataset

from gradclip.data.loaders import EVALUATION_VALUES, ShuffledBatchSampler, evaluation_loader, shuffled_loader

sizes = given(examples=st.integers(1, 200), batch_size=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
quick = settings(max_examples=50)


def order(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [batch.tolist() for batch in sampler]


@quick
@sizes
def test_every_example_is_in_one_batch_of_the_epoch(examples, batch_size, seed):
    batches = order(ShuffledBatchSampler(examples, batch_size, seed))
    assert sorted(index for batch in batches for index in batch) == list(range(examples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == len(ShuffledBatchSampler(examples, batch_size, seed))


def test_the_order_depends_only_on_seed_and_epoch():
    first = order(ShuffledBatchSampler(100, 32, seed=3), epoch=5)
    torch.manual_seed(99)
    other = ShuffledBatchSampler(100, 32, seed=3)
    list(other)  # an earlier epoch has no influence
    torch.rand(10)
    assert order(other, epoch=5) == first
    assert order(other, epoch=6) != first
    assert order(ShuffledBatchSampler(100, 32, seed=4), epoch=5) != first
    assert order(ShuffledBatchSampler(100, 32, seed=5), epoch=3) != first  # seed and epoch are not interchangeable


def test_the_global_random_state_is_unchanged():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(ShuffledBatchSampler(100, 32, seed=3))
    assert torch.equal(torch.rand(3), expected)


def test_indices_are_shuffled():
    flat = [index for batch in order(ShuffledBatchSampler(500, 32, seed=0)) for index in batch]
    assert flat != sorted(flat)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_batches_of_two_processes_together_equal_the_batch_of_one_process(epoch):
    alone = order(ShuffledBatchSampler(500, 32, seed=0), epoch)
    parts = [order(ShuffledBatchSampler(500, 32, 0, rank, world_size=2), epoch) for rank in (0, 1)]
    assert [sorted(first + second) for first, second in zip(*parts, strict=True)] == [sorted(b) for b in alone]


@quick
@given(examples=st.integers(4, 200), part_size=st.integers(1, 16), world_size=st.integers(2, 4))
def test_processes_have_batches_of_equal_size_and_no_example_twice(examples, part_size, world_size):
    samplers = [
        ShuffledBatchSampler(examples, part_size * world_size, 0, rank, world_size) for rank in range(world_size)
    ]
    parts = [order(sampler) for sampler in samplers]
    lengths = [[len(batch) for batch in batches] for batches in parts]
    assert all(length == lengths[0] for length in lengths)
    assert {len(batches) for batches in parts} == {len(sampler) for sampler in samplers}
    taken = [index for batches in parts for batch in batches for index in batch]
    assert len(set(taken)) == len(taken) == examples - examples % world_size


def test_evaluation_batches_are_in_ascending_order():
    loader = evaluation_loader(TensorDataset(torch.arange(7)), example=(EVALUATION_VALUES // 3,))
    assert [batch.tolist() for (batch,) in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(loader) == 3


def test_a_loader_resumes_with_the_next_batch_and_starts_the_next_epoch_with_its_first():
    dataset = TensorDataset(torch.arange(10))
    whole = [batch.tolist() for (batch,) in shuffled_loader(dataset, batch_size=4, seed=0)]
    stopped, resumed = shuffled_loader(dataset, 4, seed=0), shuffled_loader(dataset, 4, seed=0)
    next(iter(stopped))
    resumed.load_state_dict(stopped.state_dict())
    assert [batch.tolist() for (batch,) in resumed] == whole[1:]
    assert [batch.tolist() for (batch,) in resumed] == whole
    assert resumed.state_dict() == shuffled_loader(dataset, 4, seed=0).state_dict()
