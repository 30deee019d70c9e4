"""Generated sequences depend only on seed and epoch; validation and test sequences are the same for all runs."""

import pytest
import torch

from gradclip import SequenceData
from gradclip.data.sequences import BlockSampler
from gradclip.errors import DataError
from gradclip.scores import ACCURACY


def make(name="temporal_order", **settings):
    return SequenceData(
        name, **{"length": 20, "batch_size": 16, "steps_per_epoch": 5, "test_sequences": 300} | settings
    )


def batches(loader, epoch=0):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return list(loader)


def same(some, others):
    return all(
        torch.equal(a, b) for one, other in zip(some, others, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_every_batch_is_new_and_depends_only_on_seed_and_epoch():
    first = batches(make().train_dataloader())
    assert [len(inputs) for inputs, _ in first] == [16] * 5
    assert len({inputs.numpy().tobytes() for inputs, _ in first}) == 5
    assert same(batches(make().train_dataloader()), first)
    assert not same(batches(make().train_dataloader(), epoch=1), first)
    assert not same(batches(make(seed=1).train_dataloader()), first)


@pytest.mark.parametrize("train_sequences", [None, 80])
def test_validation_and_test_sequences_are_unseen_and_the_same_for_every_seed_and_epoch(train_sequences):
    data = [make(seed=seed, train_sequences=train_sequences, validation_sequences=200) for seed in (0, 1)]
    assert data[0].splits == ("train", "validation", "test")
    for part in (1, 2):
        one, other = (batches(each.val_dataloader()[part], epoch=each.seed) for each in data)
        assert same(one, other)
    drawn = [torch.cat([inputs for inputs, _ in batches(loader)]) for loader in data[0].val_dataloader()]
    assert [len(inputs) for inputs in drawn] == [80, 200, 300]
    assert len(torch.cat(drawn).unique(dim=0)) == 580
    alone = [inputs for inputs, _ in batches(make().val_dataloader()[1])]
    assert torch.equal(torch.cat(alone), drawn[2])  # test sequences are the same with and without validation


def test_the_training_score_uses_the_sequences_generated_in_the_epoch():
    data = make()
    for epoch in (0, 3):
        scored = torch.cat([inputs for inputs, _ in batches(data.val_dataloader()[0], epoch)])
        trained = torch.cat([inputs for inputs, _ in batches(data.train_dataloader(), epoch)])
        assert torch.equal(scored, trained)
    few = make(steps_per_epoch=100, test_sequences=100)
    assert sum(len(inputs) for inputs, _ in few.val_dataloader()[0]) == 112  # rounded up to whole batches


def test_a_fixed_set_is_shuffled_in_every_epoch():
    data = make(train_sequences=40)
    scored = torch.cat([inputs for inputs, _ in data.val_dataloader()[0]])
    for epoch in (0, 1):
        trained = batches(data.train_dataloader(), epoch)
        assert [len(inputs) for inputs, _ in trained] == [16, 16, 8]
        joined = torch.cat([inputs for inputs, _ in trained])
        assert torch.equal(joined.unique(dim=0), scored.unique(dim=0))
        rows = data.batch_indices(epoch + 1, 2)
        assert torch.equal(scored[list(rows)].unique(dim=0), trained[2][0].unique(dim=0))
    assert make().batch_indices(1, 0) == ()


@pytest.mark.parametrize("train_sequences", [None, 48])
def test_batches_of_two_processes_together_equal_the_batch_of_one_process(train_sequences):
    alone = make(train_sequences=train_sequences)
    parts = []
    for rank in (0, 1):
        data = make(train_sequences=train_sequences)
        data.trainer = type("Two", (), {"global_rank": rank, "world_size": 2})
        parts.append([inputs for inputs, _ in batches(data.train_dataloader(), 2)])
    for whole, *joined in zip([inputs for inputs, _ in batches(alone.train_dataloader(), 2)], *parts, strict=True):
        assert [len(part) for part in joined] == [8, 8]
        assert torch.equal(torch.cat(joined).unique(dim=0), whole.unique(dim=0))


def test_long_sequences_are_evaluated_in_smaller_batches():
    loader = make("random_permutation", length=100).val_dataloader()[1]  # 10,000 values per sequence
    assert [len(inputs) for inputs, _ in loader] == [200, 100]


def test_the_last_batch_of_blocks_may_be_smaller():
    blocks = BlockSampler(5, blocks_per_batch=2)
    assert list(blocks) == [(0, range(2)), (0, range(2, 4)), (0, range(4, 5))]
    assert len(blocks) == 3


def test_shape_score_scale_and_schema_describe_the_task():
    data = make("copy", solved_at=0.9)
    assert (data.shape.example, data.shape.outputs) == ((40, 10), (40, 9))
    assert (data.score_scale.score, data.score_scale.solved_at) == (ACCURACY, 0.9)
    assert data.schema.is_classification
    assert data.schema.examples.shape == (3, 40, 10)
    assert data.target_scale == 1.0
    assert data.source == "gradclip.data.tasks.copy(length=20, solved_at=0.9)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_sequences": 15}, "trainer.batch_size: got 16; there are 15 training sequences"),
        ({"batch_size": 0}, "trainer.batch_size: got 0; must be a whole number from 1 to 2147483647"),
        ({"length": 20.5}, "data.length: got 20.5; must be a whole number from 10 to 2147483647"),
        ({"steps_per_epoch": True}, "data.steps_per_epoch: got True; must be a whole number from 1 to 2147483647"),
        ({"test_sequences": 50}, "data.test_sequences: got 50; must be a multiple of 100 from 100 to 2147483647"),
        (
            {"validation_sequences": 150},
            "data.validation_sequences: got 150; must be a multiple of 100 from 0 to 2147483647",
        ),
    ],
)
def test_sizes_out_of_range_are_refused(settings, message):
    with pytest.raises(DataError) as caught:
        make(**settings)
    assert str(caught.value) == message
