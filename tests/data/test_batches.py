import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from gradclip.data.batches import OrderedBatches, ShuffledBatches

sizes = given(rows=st.integers(1, 200), batch_size=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
quick = settings(max_examples=50, deadline=None, derandomize=True)


def order(batches, epoch=0):
    batches.set_epoch(epoch)
    return [batch.tolist() for batch in batches]


@quick
@sizes
def test_every_row_once_an_epoch_in_batches_of_the_size_asked_for(rows, batch_size, seed):
    batches = order(ShuffledBatches(rows, batch_size, seed))
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == len(ShuffledBatches(rows, batch_size, seed))


def test_order_depends_on_seed_and_epoch_and_nothing_else():
    first = order(ShuffledBatches(100, 32, seed=3), epoch=5)
    torch.manual_seed(99)
    other = ShuffledBatches(100, 32, seed=3)
    list(other)  # what was drawn before leaves no trace
    torch.rand(10)
    assert order(other, epoch=5) == first
    assert order(other, epoch=6) != first
    assert order(ShuffledBatches(100, 32, seed=4), epoch=5) != first
    assert order(ShuffledBatches(100, 32, seed=5), epoch=3) != first  # seed and epoch do not change places


def test_global_random_state_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(ShuffledBatches(100, 32, seed=3))
    assert torch.equal(torch.rand(3), expected)


def test_rows_are_shuffled():
    flat = [row for batch in order(ShuffledBatches(500, 32, seed=0)) for row in batch]
    assert flat != sorted(flat)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_shares_of_two_processes_make_up_the_batch_of_one(epoch):
    alone = order(ShuffledBatches(500, 32, seed=0), epoch)
    shares = [order(ShuffledBatches(500, 32, 0, rank, world_size=2), epoch) for rank in (0, 1)]
    assert [sorted(first + second) for first, second in zip(*shares, strict=True)] == [sorted(b) for b in alone]


@quick
@given(rows=st.integers(4, 200), share=st.integers(1, 16), world_size=st.integers(2, 4))
def test_processes_take_equal_shares_and_no_row_twice(rows, share, world_size):
    samplers = [ShuffledBatches(rows, share * world_size, 0, rank, world_size) for rank in range(world_size)]
    shares = [order(sampler) for sampler in samplers]
    lengths = [[len(batch) for batch in batches] for batches in shares]
    assert all(length == lengths[0] for length in lengths)
    assert {len(batches) for batches in shares} == {len(sampler) for sampler in samplers}
    taken = [row for batches in shares for batch in batches for row in batch]
    assert len(set(taken)) == len(taken) == rows - rows % world_size


def test_ordered_batches_go_from_first_to_last():
    batches = OrderedBatches(rows=7, batch_size=3)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(batches) == 3
