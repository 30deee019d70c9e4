"""A watch in the loops of Accelerate, Fabric and Transformers clips as those loops do by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import gradclip
from gradclip.errors import TrainerError
from tests.loops.test_watch import LIMIT, assert_same, batches, by_hand, loss_of, network, sgd


def test_gradients_accumulated_by_accelerate_are_clipped_once():
    accelerate = pytest.importorskip("accelerate")

    def run(model, clip=None):
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        prepared, optimizer = accelerator.prepare(model, sgd(model))
        watch = None if clip else gradclip.watch(prepared, optimizer, gradclip.Norm(LIMIT))
        for batch in batches():
            with accelerator.accumulate(prepared):
                accelerator.backward(loss_of(prepared, batch))
                if clip and accelerator.sync_gradients:
                    clip(model)
                optimizer.step()
                optimizer.zero_grad()
        return watch

    ours, theirs = network(), network()
    watch = run(ours)
    run(theirs, by_hand)
    assert_same(ours, theirs)
    assert len(watch.record.step) == 3


def test_the_loss_scaler_of_an_accelerate_optimizer_is_used():
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True)
    model, scaler = network(), torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer = accelerate.optimizer.AcceleratedOptimizer(sgd(model), device_placement=False, scaler=scaler)
    with gradclip.watch(model, optimizer, gradclip.Norm(LIMIT)) as watch:
        for number, batch in enumerate(batches()):
            scaler.scale(loss_of(model, batch) * (torch.inf if number == 1 else 1)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert watch.record.scaler_skipped.tolist() == [False, True, *[False] * 4]
    used = ~watch.record.skipped
    np.testing.assert_allclose(watch.record.norm_clipped[used], np.minimum(watch.record.norm[used], LIMIT), rtol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_of_fabric_with_a_loss_scaler_are_clipped(fused):
    fabric = pytest.importorskip("lightning.fabric")
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    plugin = fabric.plugins.MixedPrecision("16-mixed", "cpu", scaler)
    launched = fabric.Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    model = network()
    prepared, optimizer = launched.setup(model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused))
    with gradclip.watch(prepared, optimizer, gradclip.Norm(LIMIT), scaler=scaler) as watch:
        for batch in batches():
            optimizer.zero_grad()
            launched.backward(loss_of(prepared, batch))
            optimizer.step()
    assert watch.record.names == tuple(name for name, _ in model.named_parameters())
    assert len(watch.record.step) == 6
    assert (watch.record.norm < 64).all()
    np.testing.assert_allclose(watch.record.norm_clipped, np.minimum(watch.record.norm, LIMIT), rtol=1e-5)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, inputs, labels):
        return {"loss": nn.functional.mse_loss(self.network(inputs), labels)}


def hugging_face(model, folder, **settings):
    transformers = pytest.importorskip("transformers")
    rows = [{"inputs": x, "labels": y} for batch in batches() for x, y in zip(*batch, strict=True)]
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "logging_steps": 2}
    arguments = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 0.01}
    arguments = transformers.TrainingArguments(str(folder), **quiet | arguments | settings)
    return transformers.Trainer(model, arguments, train_dataset=rows)


@pytest.mark.parametrize("clipper", [None, gradclip.Norm(LIMIT)])
def test_the_callback_clips_as_the_transformers_trainer_does_and_logs_our_metrics(tmp_path, clipper):
    pytest.importorskip("transformers")
    from gradclip.loops.hugging_face import WatchCallback

    theirs = hugging_face(Tiny(), tmp_path, max_grad_norm=LIMIT)
    theirs.train()
    ours = hugging_face(Tiny(), tmp_path, max_grad_norm=LIMIT if clipper is None else 5.0)
    callback = WatchCallback(ours, clipper)
    ours.add_callback(callback)
    ours.train()
    assert_same(ours.model, theirs.model)
    record = callback.watch.record
    assert record.step.tolist() == [1, 2, 3, 4, 5, 6]
    logged = {entry["step"]: entry for entry in ours.state.log_history if "grad/norm" in entry}
    assert [logged[step]["grad/norm"] for step in (2, 4, 6)] == record.norm[[1, 3, 5]].tolist()
    norms = [entry["grad_norm"] for entry in theirs.state.log_history if "grad_norm" in entry]
    np.testing.assert_allclose(record.norm[[1, 3, 5]], norms, rtol=1e-4)
    losses = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert ours.args.max_grad_norm == (LIMIT if clipper is None else 5.0)


def test_a_resumed_transformers_training_continues_record_and_clipper_state(tmp_path):
    pytest.importorskip("transformers")
    from gradclip.loops.hugging_face import WatchCallback

    def trained(checkpoint=None, **settings):
        steps = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 7}
        trainer = hugging_face(Tiny(), tmp_path / "output", **steps | settings)
        callback = WatchCallback(trainer, gradclip.ParameterEMA(warmup=2))
        trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer.model, callback.watch.record

    checkpoint = tmp_path / "output" / "checkpoint-7"
    model, whole = trained()
    assert torch.load(checkpoint / "training_args.bin", weights_only=False).max_grad_norm == 1.0
    moved = checkpoint.rename(tmp_path / "moved")
    resumed_model, resumed = trained(str(moved), resume_from_checkpoint=str(moved))
    assert_same(resumed_model, model)
    assert resumed.step.tolist() == [*range(1, 13)]
    np.testing.assert_array_equal(resumed.norms_clipped, whole.norms_clipped)
    with pytest.warns(UserWarning, match=r"gradclip\.pt not found, so the record and the clipper start over; .* name"):
        trained(str(moved))


def test_the_callback_of_another_transformers_trainer_is_refused(tmp_path):
    pytest.importorskip("transformers")
    from gradclip.loops.hugging_face import WatchCallback

    trainer = hugging_face(Tiny(), tmp_path)
    trainer.add_callback(WatchCallback(hugging_face(Tiny(), tmp_path)))
    with pytest.raises(TrainerError, match=r"^trainer: got a Trainer that does not have the callback"):
        trainer.train()


def test_a_sharded_transformers_model_is_refused(tmp_path):
    pytest.importorskip("transformers")
    from gradclip.loops.hugging_face import WatchCallback

    trainer = hugging_face(type("FullyShardedDataParallel", (Tiny,), {})(), tmp_path)
    trainer.add_callback(WatchCallback(trainer))
    with pytest.raises(TrainerError, match=r"^model: got FullyShardedDataParallel"):
        trainer.train()
