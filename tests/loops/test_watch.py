"""A plain torch loop with a watch equals the same loop that clips by hand."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

import gradclip
from gradclip.errors import TrainerError
from tests.support.optimizers import Clearing, Overwriting

STEPS = 6
LIMIT = 0.5


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def sgd(model, **settings):
    momentum = 0.0 if settings.get("fused") else 0.9  # fused SGD leaves it uninitialized if step 1 is skipped
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, **settings)


def adam(model, **settings):
    return torch.optim.Adam(model.parameters(), lr=0.1, **settings)


def batches(count=STEPS):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 3, generator=generator), 3 * torch.randn(4, 1, generator=generator)) for _ in range(count)]


def loss_of(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def train(model, optimizer, data, clip=None, watch=None):
    """Run an ordinary training loop; ``clip`` is the line that a watch replaces."""
    norms = []
    for batch in data:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        if watch is not None:
            watch.loss(loss)
        if clip is not None:
            norms.append(clip(model))
        optimizer.step()
    return norms


def by_hand(model):
    return clip_grad_norm_(model.parameters(), LIMIT).item()


def values_by_hand(model):
    norm = get_total_norm([p.grad for p in model.parameters()]).item()
    clip_grad_value_(model.parameters(), LIMIT)
    return norm


def assert_same(model, other):
    torch.testing.assert_close([*model.parameters()], [*other.parameters()], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_watch_clips_as_the_functions_of_torch_do(make):
    ours, theirs = network(), network()
    norms = train(theirs, make(theirs), batches(), by_hand)
    optimizer = make(ours)
    with gradclip.watch(ours, optimizer, gradclip.Norm(LIMIT)) as watch:
        train(ours, optimizer, batches(), watch=watch)
    assert_same(ours, theirs)
    record = watch.record
    np.testing.assert_allclose(record.norm, norms, rtol=1e-5)
    np.testing.assert_allclose(record.norm_clipped, np.minimum(norms, LIMIT), rtol=1e-5)
    assert record.names == tuple(name for name, _ in ours.named_parameters())
    assert record.step.tolist() == [*range(1, STEPS + 1)]
    assert record.has_loss.all()
    assert (record.learning_rate == 0.1).all()
    assert watch.clip_fraction == np.mean(np.array(norms) > LIMIT)
    assert not watch.diverged


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_watch_that_only_measures_leaves_training_unchanged_bit_for_bit(make):
    ours, theirs = network(), network()
    optimizer = make(ours)
    watch = gradclip.watch(ours, optimizer, flush_every=2)
    train(ours, optimizer, batches(), watch=watch)
    train(theirs, make(theirs), batches())
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert (watch.record.norm_clipped == watch.record.norm).all()
    assert (watch.record.updates > 0).all()


def test_a_training_without_recorded_losses_has_not_diverged():
    model = network()
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer, gradclip.Norm(LIMIT)) as watch:
        train(model, optimizer, batches())
    assert np.isnan(watch.record.loss).all()
    assert not watch.record.skipped.any()
    assert not watch.diverged
    assert watch.explosion is None


def test_accumulated_gradients_are_clipped_once():
    def accumulate(model, optimizer, clip=None, watch=None):
        for number, batch in enumerate(batches(), start=1):
            loss = loss_of(model, batch)
            (loss / 2).backward()
            losses.append(loss.item())
            if watch is not None:
                watch.loss(loss)
            if number % 2 == 0:
                if clip is not None:
                    clip(model)
                optimizer.step()
                optimizer.zero_grad()

    ours, theirs, losses = network(), network(), []
    accumulate(theirs, sgd(theirs), by_hand)
    losses.clear()
    optimizer = sgd(ours)
    with gradclip.watch(ours, optimizer, gradclip.Norm(LIMIT)) as watch:
        accumulate(ours, optimizer, watch=watch)
    assert_same(ours, theirs)
    np.testing.assert_allclose(watch.record.loss, np.reshape(losses, (3, 2)).mean(axis=1), rtol=1e-6)


def lbfgs(model):
    return torch.optim.LBFGS(model.parameters(), lr=0.01, max_iter=3)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(("make", "evaluations"), [(sgd, 1), (adam, 1), (lbfgs, 3)])
def test_a_closure_is_clipped_after_each_evaluation_and_the_last_one_is_recorded(make, evaluations, by_name):
    def step(model, optimizer, batch, clip=None):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            seen.append((loss.item(), clip(model) if clip else None))
            return loss

        return optimizer.step(closure=closure) if by_name else optimizer.step(closure)

    ours, theirs, seen = network(), network(), []
    optimizer = make(theirs)
    returned = [step(theirs, optimizer, batch, values_by_hand).item() for batch in batches()]
    expected, optimizer = np.array(seen[evaluations - 1 :: evaluations]), make(ours)
    with gradclip.watch(ours, optimizer, gradclip.Value(LIMIT)) as watch:
        assert [step(ours, optimizer, batch).item() for batch in batches()] == returned
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    np.testing.assert_allclose(watch.record.loss, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(watch.record.norm, expected[:, 1], rtol=1e-5)
    assert (watch.record.norm_clipped < watch.record.norm).any()


@pytest.mark.parametrize("size", [4, 300])
def test_the_update_of_a_step_with_several_evaluations_covers_the_whole_step(size):
    torch.manual_seed(0)
    model = nn.Linear(size, size)  # above 50,000 parameters, each step is measured separately
    optimizer, inputs = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3), torch.randn(2, size)
    before = model.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = model(inputs).square().sum()
        loss.backward()
        return loss

    with gradclip.watch(model, optimizer) as watch:
        optimizer.step(closure)
    update = watch.record.updates[0, watch.record.names.index("weight")]
    assert update == pytest.approx((model.weight - before).norm().item(), rel=1e-5)


def train_with_scaler(model, optimizer, scaler, clip=None, data=None, bad=(0, 1)):
    """Train with a loss scaler and gradients that overflow in some steps."""
    norms = []
    for number, batch in enumerate(data or batches()):
        optimizer.zero_grad()
        loss = loss_of(model, batch) * (torch.inf if number in bad else 1)
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            norms.append(clip(model))
        scaler.step(optimizer)
        scaler.update()
    return norms


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("make", [sgd, adam])
def test_gradients_of_a_loss_scaler_are_unscaled_before_clipping(make, fused):
    ours, theirs = network(), network()
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in range(2)]
    norms = train_with_scaler(theirs, make(theirs, fused=fused), scalers[0], by_hand)
    optimizer = make(ours, fused=fused)
    with gradclip.watch(ours, optimizer, gradclip.Norm(LIMIT), scaler=scalers[1]) as watch:
        train_with_scaler(ours, optimizer, scalers[1])
    assert_same(ours, theirs)
    assert scalers[1].get_scale() == scalers[0].get_scale() == 256.0
    record = watch.record
    np.testing.assert_allclose(record.norm[2:], norms[2:], rtol=1e-5)
    assert not np.isfinite(record.norm[:2]).any()
    assert record.skipped.tolist() == record.scaler_skipped.tolist() == [True, True, *[False] * 4]
    assert not record.updates[:2].any()
    assert not watch.diverged
    assert record.norm_percentile(100) == pytest.approx(max(norms[2:]), rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_that_the_loop_has_unscaled_are_not_unscaled_again(fused):
    model = network()
    optimizer, scaler = sgd(model, fused=fused), torch.amp.GradScaler("cpu", init_scale=1024.0)
    with gradclip.watch(model, optimizer, scaler=scaler) as watch:
        norms = train_with_scaler(model, optimizer, scaler, by_hand, bad=())
    np.testing.assert_allclose(watch.record.norm, np.minimum(norms, LIMIT), rtol=1e-5)


def test_a_disabled_scaler_is_ignored():
    model = network()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", enabled=False)
    with gradclip.watch(model, optimizer, scaler=scaler) as watch:
        train_with_scaler(model, optimizer, scaler, bad=())
    assert len(watch.record.step) == STEPS


def test_a_scaler_that_skips_every_update_is_reported_as_an_explosion():
    model = network()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
    with gradclip.watch(model, optimizer, scaler=scaler) as watch:
        train_with_scaler(model, optimizer, scaler, data=batches(40), bad=range(8, 40))
    assert watch.record.divergence.place == "loss scale"
    assert watch.record.divergence.step == 9
    assert str(watch.explosion).startswith("The loss scaler skipped every update from step 9 (epoch 1) on")
    assert "diverged" not in str(watch.explosion)
    assert watch.diverged


def test_gradients_that_are_still_scaled_are_refused():
    model = network()
    optimizer, scaler = sgd(model, fused=True), torch.amp.GradScaler("cpu")
    with gradclip.watch(model, optimizer), pytest.raises(TrainerError) as caught:
        train_with_scaler(model, optimizer, scaler, bad=())
    assert str(caught.value) == "scaler: got None, but the gradients of SGD are still scaled; pass scaler=scaler"
    with gradclip.watch(model, optimizer, scaler=scaler), pytest.raises(TrainerError) as caught:
        train(model, optimizer, batches())
    assert str(caught.value) == "scaler: got a scaler that did not step the optimizer; call scaler.step(optimizer)"
    assert all(map(torch.equal, model.parameters(), network().parameters()))


def test_two_optimizers_can_each_have_a_watch():
    def play(players, optimizers, clip=None):
        for batch in batches():
            for player, optimizer, other in zip(players, optimizers, players[::-1], strict=True):
                optimizer.zero_grad()
                (loss_of(player, batch) + other(batch[0]).square().mean()).backward()
                if clip is not None:
                    clip(player)
                optimizer.step()

    ours, theirs = (network(), network()), (network(), network())
    play(theirs, [sgd(theirs[0]), adam(theirs[1])], by_hand)
    optimizers = [sgd(ours[0]), adam(ours[1])]
    watches = [gradclip.watch(ours[index], optimizers[index], gradclip.Norm(LIMIT)) for index in (0, 1)]
    play(ours, optimizers)
    for index in (0, 1):
        assert_same(ours[index], theirs[index])
        assert len(watches[index].record.step) == STEPS


def test_several_watches_share_a_scaler_and_release_it_when_closed():
    models = network(), network()
    scaler = torch.amp.GradScaler("cpu")
    optimizers = [sgd(model) for model in models]
    watches = [gradclip.watch(*pair, scaler=scaler) for pair in zip(models, optimizers, strict=True)]
    for model, optimizer in zip(models, optimizers, strict=True):
        train_with_scaler(model, optimizer, scaler)
    assert [watch.record.skipped.sum() for watch in watches] == [2, 2]
    for watch in watches:
        watch.close()
    train_with_scaler(models[0], optimizers[0], scaler)
    assert [len(watch.record.step) for watch in watches] == [STEPS, STEPS]


def test_added_parameters_are_clipped_and_frozen_parameters_are_ignored():
    def grow(model, optimizer, clip=None):
        train(model, optimizer, batches(3), clip)
        model[0].requires_grad_(True)
        optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.2})
        train(model, optimizer, batches(3), clip)

    def frozen():
        model = network()
        model[0].requires_grad_(False)
        return model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)

    theirs, ours = frozen(), frozen()
    grow(*theirs, by_hand)
    with gradclip.watch(*ours, gradclip.Norm(LIMIT)) as watch:
        grow(*ours)
    assert_same(ours[0], theirs[0])
    assert np.isnan(watch.record.norms[:3, :2]).all()
    assert not np.isnan(watch.record.norms[3:]).any()
    assert watch.record.learning_rate.tolist() == [0.1] * 3 + [0.2] * 3


def test_complex_gradients_are_clipped_as_torch_clips_them():
    def step(model, optimizer, clip=None):
        for factor in (1.0, 2.0):
            optimizer.zero_grad()
            (model.weight * factor * (1 + 2j)).abs().square().sum().backward()
            norms.append(clip(model) if clip else None)
            optimizer.step()

    def single():
        model = nn.Module()
        model.weight = nn.Parameter(torch.tensor([3 + 4j, 1 - 1j]))
        return model

    ours, theirs, norms = single(), single(), []
    step(theirs, sgd(theirs), by_hand)
    optimizer, expected = sgd(ours), [*norms]
    with gradclip.watch(ours, optimizer, gradclip.Norm(LIMIT)) as watch:
        step(ours, optimizer)
    assert_same(ours, theirs)
    np.testing.assert_allclose(watch.record.norm, expected, rtol=1e-5)


def test_a_resumed_training_equals_an_uninterrupted_training():
    def watched(model):
        optimizer = adam(model)
        return optimizer, gradclip.watch(model, optimizer, gradclip.ParameterEMA(warmup=2), flush_every=4)

    whole, half, rest = network(), network(), network()
    optimizer, watch = watched(whole)
    train(whole, optimizer, batches(10), watch=watch)
    optimizer, first = watched(half)
    train(half, optimizer, batches(10)[:5], watch=first)
    file = io.BytesIO()
    torch.save([half.state_dict(), optimizer.state_dict(), first.state_dict()], file)
    file.seek(0)
    optimizer, second = watched(rest)
    for part, state in zip((rest, optimizer, second), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(rest, optimizer, batches(10)[5:], watch=second)
    assert all(map(torch.equal, whole.parameters(), rest.parameters()))
    for column in watch.record.columns():
        np.testing.assert_array_equal(getattr(second.record, column), getattr(watch.record, column), err_msg=column)


class Derived(torch.optim.Adam):
    """Calls the step of its base class, so that torch runs the hooks of both."""

    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("beside", ["", "before", "after"])
@pytest.mark.parametrize("by_closure", [False, True])
def test_a_step_that_calls_the_step_of_its_base_class_is_recorded_once(by_closure, beside):
    def run(model, optimizer):
        def closure(batch):
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            return loss

        for batch in batches():
            if by_closure:
                optimizer.step(partial(closure, batch))
            else:
                closure(batch)
                optimizer.step()

    torch.optim.Adam([torch.zeros(1)])  # its constructor makes Adam.step run the hooks
    ours, theirs, clipper = network(), network(), gradclip.ParameterEMA(warmup=2)
    optimizers = Derived(ours.parameters(), lr=0.1), adam(theirs)
    measuring = [gradclip.watch(ours, optimizers[0])] if beside == "before" else []
    watches = [gradclip.watch(*pair, clipper) for pair in zip((ours, theirs), optimizers, strict=True)]
    if beside == "after":
        gradclip.watch(ours, optimizers[0])
    run(ours, optimizers[0])
    run(theirs, optimizers[1])
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    for column in ("norms", "norms_clipped", "updates", "weights", "loss"):
        np.testing.assert_array_equal(getattr(watches[0].record, column), getattr(watches[1].record, column))
    assert watches[0].record.step.tolist() == [*range(1, STEPS + 1)]
    for watch in measuring:
        np.testing.assert_array_equal(watch.record.norms, watches[0].record.norms)


class Breaking(torch.optim.SGD):
    def step(self, closure=None):
        loss = super().step(closure)
        self.count = getattr(self, "count", 0) + 1
        if self.count == 4:
            raise RuntimeError("mine")
        return loss


def test_an_interrupted_step_is_not_recorded_and_its_exception_propagates():
    model = network()
    optimizer = Breaking(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="mine"), gradclip.watch(model, optimizer) as watch:
        train(model, optimizer, batches())
    assert watch.record.step.tolist() == [1, 2, 3]
    again = gradclip.watch(model, optimizer)
    train(model, optimizer, batches())
    assert again.record.step.tolist() == [*range(1, STEPS + 1)]
    assert len(watch.record.step) == 3


def test_an_error_in_the_watch_does_not_hide_the_exception_of_the_loop(monkeypatch):
    model = network()
    optimizer = sgd(model)
    watch = gradclip.watch(model, optimizer)
    monkeypatch.setattr(watch, "flush", lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="mine") as caught, watch:
        raise RuntimeError("mine")
    assert caught.value.__notes__ == [
        "gradclip.watch could not record the latest steps: ZeroDivisionError: division by zero"
    ]


def test_an_update_that_the_clipper_skips_changes_no_weight_and_is_recorded_as_skipped():
    model = network()
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer, gradclip.Skip()) as watch:
        train(model, optimizer, batches(2))
        before = [p.detach().clone() for p in model.parameters()]
        train(model, optimizer, [(torch.full((4, 3), torch.nan), torch.zeros(4, 1))], watch=watch)
    assert all(map(torch.equal, model.parameters(), before))
    assert watch.record.skipped.tolist() == [False, False, True]
    assert not watch.record.scaler_skipped.any()
    assert not watch.diverged


def test_diagnosis_and_explosion_suggest_code_for_a_torch_loop():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e20)
    with gradclip.watch(model, optimizer) as watch:
        train(model, optimizer, batches(), watch=watch)
    assert not watch.diagnose().is_healthy
    for advice in (watch.diagnose(), watch.explosion):
        assert "gradclip.watch(model, optimizer, clipper=gradclip.Norm(" in str(advice)


def test_an_optimizer_whose_epsilon_is_a_pair_is_diagnosed():
    model = network()
    optimizer = torch.optim.Adafactor(model.parameters())
    with gradclip.watch(model, optimizer) as watch:
        train(model, optimizer, batches(), watch=watch)
    assert "epsilon" not in str(watch.diagnose())


def test_a_divergence_is_detected_at_the_next_flush():
    model, detected = network(), []
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer, flush_every=4) as watch:
        for number, batch in enumerate(batches(9)):
            train(model, optimizer, [(batch[0] * (torch.nan if number == 5 else 1), batch[1])], watch=watch)
            detected.append(watch.diverged)
    assert detected == [False] * 7 + [True] * 2
    assert watch.record.divergence.step == watch.explosion.divergence.step == 6


def test_a_loss_in_memory_that_the_next_batch_overwrites_is_recorded():
    """A CUDA graph writes the loss of each replay to the same place."""
    model = network()
    optimizer, place, expected = sgd(model), torch.zeros(()), []
    with gradclip.watch(model, optimizer) as watch:
        for first, second in zip(batches(6)[::2], batches(6)[1::2], strict=True):
            losses = [loss_of(model, batch) for batch in (first, second)]
            for loss in losses:
                loss.backward()
                watch.loss(place.copy_(loss.detach()))
            expected.append(torch.stack(losses).mean().item())
            optimizer.step()
    np.testing.assert_allclose(watch.record.loss, expected, rtol=1e-6)


@pytest.mark.parametrize("clipper", [None, gradclip.Norm(LIMIT)])
def test_parameters_on_several_devices_are_refused(clipper):
    model = nn.ParameterList([torch.ones(3), torch.ones(3, device="meta")])
    for parameter in model:
        parameter.grad = torch.ones_like(parameter)
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer, clipper), pytest.raises(TrainerError) as caught:
        optimizer.step()
    assert str(caught.value) == "optimizer: got parameters on cpu and meta; must be on one device"


def test_a_compiled_step_is_clipped_and_recorded():
    ours, theirs = network(), network()
    norms = train(theirs, sgd(theirs), batches(3), by_hand)
    optimizer = sgd(ours)
    with gradclip.watch(ours, optimizer, gradclip.Norm(LIMIT)) as watch:
        optimizer.step = torch.compile(optimizer.step, backend="eager")
        train(ours, optimizer, batches(3))
    assert_same(ours, theirs)
    np.testing.assert_allclose(watch.record.norm, norms, rtol=1e-5)


@pytest.mark.parametrize("attribute", ["optimizer", "base_optimizer", "_base_optimizer"])
def test_an_optimizer_inside_a_wrapper_is_watched(attribute):
    class Wrapper(torch.optim.Optimizer):
        """A wrapper with a step of another name, as in sharpness-aware minimization."""

        def __init__(self, optimizer):
            setattr(self, attribute, optimizer)

    model = network()
    optimizer = sgd(model)
    with gradclip.watch(model, Wrapper(optimizer)) as watch:
        train(model, optimizer, batches(2))
    assert watch.record.step.tolist() == [1, 2]


@pytest.mark.parametrize("size", [4, 300])
@pytest.mark.parametrize("has_hook", [False, True], ids=["alone", "after another hook"])
@pytest.mark.parametrize("changing", [Clearing, Overwriting])
def test_gradients_that_the_optimizer_changes_are_recorded_as_used(changing, has_hook, size):
    records = []
    for kind in (changing, torch.optim.SGD):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, size), nn.Linear(size, size), nn.Linear(size, 1))
        optimizer = kind(model.parameters(), lr=0.001)
        if has_hook:
            optimizer.register_step_pre_hook(lambda *_: None)
        with gradclip.watch(model, optimizer, gradclip.Norm(LIMIT)) as watch:
            train(model, optimizer, batches())
        records.append(watch.record)
    assert not records[0].skipped.any()
    for column in ("norms", "norms_clipped", "weights", "updates"):
        np.testing.assert_allclose(getattr(records[0], column), getattr(records[1], column), rtol=1e-6)


@pytest.mark.parametrize("size", [4, 300])
def test_a_change_of_the_weights_between_two_steps_is_not_an_update(size):
    model = nn.Linear(size, size)
    optimizer, updates = torch.optim.SGD(model.parameters(), lr=0.001), []
    with gradclip.watch(model, optimizer) as watch:
        for _ in range(3):
            before = model.weight.detach().clone()
            train(model, optimizer, [(torch.ones(2, size), torch.zeros(2, size))])
            updates.append((model.weight - before).norm().item())
            model.weight.data.clamp_(-0.01, 0.01)  # as in a Wasserstein GAN
    recorded = watch.record.updates[:, watch.record.names.index("weight")]
    np.testing.assert_allclose(recorded, updates, rtol=1e-4)


def test_a_gradient_whose_elements_share_memory_is_clipped():
    model = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.weight.detach().clone()
    with gradclip.watch(model, optimizer, gradclip.Norm(LIMIT)) as watch:
        model.weight.grad = torch.func.grad(torch.sum)(before)
        assert model.weight.grad.stride() == (0, 0)
        optimizer.step()
    assert watch.record.norm == pytest.approx([2.0])
    torch.testing.assert_close(model.weight.detach(), before - LIMIT / 2)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_that_the_optimizer_holds_twice_is_clipped_once():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter, parameter], lr=1.0)
    with gradclip.watch(network(), optimizer, gradclip.Norm(LIMIT)) as watch:
        parameter.grad = torch.full((1,), 5.0)
        optimizer.step()
    assert watch.record.norm == pytest.approx([5.0])
    torch.testing.assert_close(parameter.grad, torch.full((1,), LIMIT))


def test_a_watch_of_an_optimizer_that_takes_no_step_warns():
    model = network()
    with (
        pytest.warns(UserWarning, match=r"^watch: SGD took no step, so nothing was clipped or recorded"),
        gradclip.watch(model, sgd(model)) as watch,
    ):
        train(model, sgd(model), batches(2))
    assert not watch.record.step.size


def test_metrics_describe_the_latest_step():
    model = network()
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer, flush_every=2) as watch:
        assert watch.metrics == {}
        for batch in batches(3):
            train(model, optimizer, [batch], watch=watch)
            assert watch.metrics == {key: values[-1] for key, values in watch.record.metrics.items()}


@pytest.mark.parametrize("name", ["FullyShardedDataParallel", "DeepSpeedEngine"])
def test_sharded_gradients_are_refused(name):
    model = type(name, (nn.Linear,), {})(2, 1)
    with pytest.raises(TrainerError) as caught:
        gradclip.watch(model, sgd(model))
    allowed = "watch needs whole gradients, as in DistributedDataParallel, or fully_shard (FSDP 2)"
    assert str(caught.value) == f"model: got {name}; {allowed}"


def test_sparse_gradients_are_refused():
    model = nn.Embedding(3, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.tensor([1])).sum().backward()
    with gradclip.watch(model, optimizer), pytest.raises(TrainerError, match=r"^weight: got a sparse gradient"):
        optimizer.step()


class Unhookable(torch.optim.Optimizer):
    """An optimizer that does not call the constructor of its base class."""

    def __init__(self):
        self.param_groups = []


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("model", None, "model: got NoneType; must be a torch.nn.Module"),
        ("optimizer", [sgd(network())], "optimizer: got list; must be one torch.optim.Optimizer"),
        (
            "optimizer",
            Unhookable(),
            "optimizer: got Unhookable; must call the constructor of torch.optim.Optimizer; if it wraps an optimizer, "
            "pass that one",
        ),
        ("clipper", 1.0, "clipper: got 1.0; must be a Clipper, such as gradclip.Norm(1.0)"),
        ("scaler", 2.0, "scaler: got float; must be a torch.amp.GradScaler or None"),
        ("flush_every", 0, "flush_every: got 0; must be a whole number from 1 to 2147483647"),
        ("flush_every", "a", "flush_every: got 'a'; must be a whole number from 1 to 2147483647"),
        ("flush_every", None, "flush_every: got None; must be a whole number from 1 to 2147483647"),
        ("updates_every", 1.5, "updates_every: got 1.5; must be a whole number from 1 to 2147483647"),
        ("folder", 1, "folder: got 1; must be the path of a folder"),
    ],
)
def test_invalid_arguments_are_refused(argument, value, message):
    model = network()
    with pytest.raises(gradclip.GradclipError) as caught:
        gradclip.watch(**{"model": model, "optimizer": sgd(model), argument: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("state", [None, {}, sgd(network()).state_dict()])
def test_a_state_from_elsewhere_is_refused(state):
    model = network()
    watch = gradclip.watch(model, sgd(model))
    with pytest.raises(TrainerError, match=r"^state: got \w+ of other content; must be a watch's state_dict\(\)$"):
        watch.load_state_dict(state)


class WithLoss(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, loss):
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(0.1 * loss * parameter.grad)


def test_gradients_are_clipped_if_the_step_has_an_argument_that_is_no_closure():
    model = network()
    optimizer = WithLoss(model.parameters(), {})
    with gradclip.watch(model, optimizer, gradclip.Norm(LIMIT)) as watch:
        loss_of(model, batches(1)[0]).backward()
        optimizer.step(torch.ones(()))
    np.testing.assert_allclose(watch.record.norm_clipped, LIMIT, rtol=1e-5)


def test_an_optimizer_that_another_watch_clips_is_refused():
    model = network()
    optimizer = sgd(model)
    first = gradclip.watch(model, optimizer, gradclip.Norm(LIMIT))
    gradclip.watch(model, optimizer).close()  # measuring is allowed
    with pytest.raises(TrainerError, match=r"^optimizer: got SGD, which another watch clips; close that watch"):
        gradclip.watch(model, optimizer, gradclip.Norm(LIMIT))
    first.close()
    second = gradclip.watch(model, optimizer, gradclip.Norm(LIMIT))
    first.close()
    with pytest.raises(TrainerError):
        gradclip.watch(model, optimizer, gradclip.Norm(LIMIT))
    second.close()


def test_a_watch_beside_one_that_clips_records_the_clipped_gradients():
    model = network()
    optimizer = sgd(model)
    with (
        gradclip.watch(model, optimizer) as measuring,
        gradclip.watch(model, optimizer, gradclip.Value(LIMIT)) as clipping,
    ):
        train(model, optimizer, batches())
    np.testing.assert_array_equal(measuring.record.norm_clipped, clipping.record.norm_clipped)
    np.testing.assert_array_equal(measuring.record.cosine, clipping.record.cosine)
    assert (clipping.record.cosine < 1).any()


def test_the_losses_of_an_evaluation_are_not_recorded():
    model = network()
    optimizer = sgd(model)
    with gradclip.watch(model, optimizer) as watch:
        with torch.no_grad():
            watch.loss(loss_of(model, batches(1)[0]) + 100)
        train(model, optimizer, batches(1), watch=watch)
    assert watch.record.loss[0] < 100


def test_a_closed_watch_cannot_be_entered():
    model = network()
    with gradclip.watch(model, sgd(model)) as watch:
        pass
    with pytest.raises(TrainerError) as caught, watch:
        pass
    assert str(caught.value) == "watch: got a closed watch; create a new one"


def test_parameter_names_have_no_prefix_from_a_wrapper():
    model = network()
    optimizer = sgd(model)
    with gradclip.watch(nn.DataParallel(model), optimizer) as watch:
        train(model, optimizer, batches(1))
    assert watch.record.names == tuple(name for name, _ in model.named_parameters())
