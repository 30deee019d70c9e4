"""Each row of the table "Your setting elsewhere" in docs/methods.md clips as the other library does.

Keras and optax are called. TensorFlow, timm, DeepSpeed and old Keras are large, so formulas from their source stand in.
"""

import re
import tempfile
from functools import partial

import numpy as np
import pytest
import torch

from gradclip import Skip
from gradclip.clipping.build import make_clipper
from gradclip.config.composition import compose_config
from tests.conftest import ROOT

TABLE = (ROOT / "docs/methods.md").read_text().partition("## Your setting elsewhere")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.*?) \| `(clip=.*?)` \|", TABLE, flags=re.MULTILINE)

generator = torch.Generator().manual_seed(0)
WEIGHTS = {name: torch.randn(shape, generator=generator) for name, shape in {"weight": (4, 3), "bias": (4,)}.items()}
GRADIENTS = {name: 6 * torch.randn(weight.shape, generator=generator) for name, weight in WEIGHTS.items()}
SMALL = {name: gradient / 1000 for name, gradient in GRADIENTS.items()}
NORM = torch.cat([gradient.flatten() for gradient in GRADIENTS.values()]).norm()


def by_torch(function, *arguments, **settings):
    def clip(gradients):
        parameters = {name: torch.nn.Parameter(weight.clone()) for name, weight in WEIGHTS.items()}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        function(parameters.values(), *arguments, **settings)
        return {name: parameter.grad for name, parameter in parameters.items()}

    return clip


def global_norm(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()


def scaled(gradients, coefficient):
    return {name: gradient * coefficient for name, gradient in gradients.items()}


def keras_before_2_4(gradients):
    norm = global_norm(gradients)
    return scaled(gradients, 1.0 / norm) if norm >= 1.0 else gradients


def by_keras(**clipping):
    """Return a function that clips as a Keras optimizer does, by one update of zero weights at a learning rate of 1."""

    def clip(gradients):
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
            patch.setenv("KERAS_BACKEND", "torch")
            patch.setenv("KERAS_HOME", home)
            import keras
        with keras.device("cpu"):
            weights = [keras.Variable(torch.zeros_like(gradient)) for gradient in gradients.values()]
            keras.optimizers.SGD(1.0, **clipping).apply([g.clone() for g in gradients.values()], weights)
        return {name: -weight.value.detach() for name, weight in zip(gradients, weights, strict=True)}

    return clip


def by_optax(make):
    """Return a function that clips by a transform of optax, with gradients in the layout of JAX: inputs first."""

    def clip(gradients):
        import jax
        import optax

        with jax.default_device(jax.devices("cpu")[0]):
            transform, weights = make(optax), to_jax(WEIGHTS)
            return from_jax(transform.update(to_jax(gradients), transform.init(weights), weights)[0])

    return clip


def to_jax(tensors):
    import jax

    return {name: jax.numpy.asarray(tensor.numpy().T) for name, tensor in tensors.items()}


def from_jax(arrays):
    return {name: torch.tensor(np.array(array).T) for name, array in arrays.items()}


def tensorflow(gradients):
    return scaled(gradients, 1.0 * min(1.0 / global_norm(gradients), 1.0))


def unit_wise(gradient, weight, dimensions):
    """Clip by the rule of timm, with a unit's norm over the given dimensions."""
    largest = 0.01 * weight.norm(dim=dimensions, keepdim=True).clamp(min=1e-3)
    norm = gradient.norm(dim=dimensions, keepdim=True)
    return torch.where(norm < largest, gradient, gradient * (largest / norm.clamp(min=1e-6)))


def timm_adaptive(gradients):
    weight = unit_wise(gradients["weight"], WEIGHTS["weight"], 1)
    return {"weight": weight, "bias": unit_wise(gradients["bias"], WEIGHTS["bias"], 0)}


def skip_large(optax):
    skips = partial(optax.skip_large_updates, max_squared_norm=25.0)
    return optax.MultiSteps(optax.identity(), every_k_schedule=1, should_skip_update_fn=skips)


def deepspeed(gradients):
    excess = (global_norm(gradients) + 1e-6) / 1.0
    return scaled(gradients, 1 / excess) if excess > 1 else gradients


torch_norm = by_torch(torch.nn.utils.clip_grad_norm_, 1.0)
torch_value = by_torch(torch.nn.utils.clip_grad_value_, 5.0)
THEIRS = [
    torch_norm,  # Lightning
    torch_value,
    torch_norm,
    by_torch(torch.nn.utils.clip_grad_norm_, 1.0, norm_type=torch.inf),
    torch_value,
    keras_before_2_4,
    by_keras(clipnorm=1.0),
    by_keras(global_clipnorm=1.0),
    by_keras(clipvalue=5.0),
    tensorflow,
    by_optax(lambda optax: optax.clip_by_global_norm(1.0)),
    by_optax(lambda optax: optax.clip(5.0)),
    by_optax(lambda optax: optax.adaptive_grad_clip(0.01)),
    by_optax(lambda optax: optax.apply_if_finite(optax.identity(), 10)),
    by_optax(skip_large),
    torch_norm,  # timm
    torch_value,
    timm_adaptive,
    deepspeed,
]


@pytest.mark.parametrize(("row", "theirs"), list(zip(ROWS, THEIRS, strict=True)), ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("gradients", [GRADIENTS, SMALL], ids=["large", "small"])
def test_our_setting_equals_the_setting_of_the_other_library(row, theirs, gradients):
    clipper = make_clipper(**compose_config(row[1].split()).clip.model_dump())
    ours = clipper(gradients, WEIGHTS, clipper.init(WEIGHTS))[0]
    torch.testing.assert_close(ours, theirs(gradients), rtol=1e-5, atol=1e-7)


def test_for_three_dimensions_optax_takes_the_norm_over_the_first_one_only():
    weight, gradient = (torch.randn(4, 3, 2, generator=generator) for _ in range(2))

    def transposed(tensor):  # the layout of a one-dimensional convolution in JAX: width, inputs, outputs
        import jax

        return {"weight": jax.numpy.asarray(tensor.permute(2, 1, 0).numpy())}

    import optax

    transform = optax.adaptive_grad_clip(0.01)
    theirs = transform.update(transposed(gradient), transform.init(transposed(weight)), transposed(weight))[0]["weight"]
    along_the_first = torch.tensor(np.array(theirs)).permute(2, 1, 0)
    torch.testing.assert_close(along_the_first, unit_wise(gradient, weight, 2))
    torch.testing.assert_close(
        make_clipper("adaptive")({"weight": gradient}, {"weight": weight}, {})[0]["weight"],
        unit_wise(gradient, weight, (1, 2)),
    )


def test_parameters_that_timm_excludes_can_be_excluded():
    weights = {"body.weight": WEIGHTS["weight"], "head.weight": WEIGHTS["weight"], "head.bias": WEIGHTS["bias"]}
    gradients = {name: 6 * torch.ones_like(weight) for name, weight in weights.items()}
    theirs = [*weights][:-2]  # model_parameters(model, exclude_head=True)
    ours = make_clipper("adaptive", exclude="head*")(gradients, weights, {})[0]
    assert [name for name in weights if not torch.equal(ours[name], gradients[name])] == theirs


def test_non_finite_updates_pass_after_as_many_in_a_row_as_in_optax():
    import jax
    import optax

    theirs, ours = optax.apply_if_finite(optax.identity(), 2), Skip(patience=2)
    their_state, our_state = theirs.init(jax.numpy.zeros(1)), ours.init({})
    for size in [1.0, torch.nan, 2.0, torch.inf, torch.nan, torch.nan, torch.nan, 3.0, torch.nan]:
        update, their_state = theirs.update(jax.numpy.asarray([size]), their_state)
        clipped, our_state, _ = ours({"only": torch.tensor([size])}, {}, our_state)
        np.testing.assert_array_equal(clipped["only"].numpy(), np.asarray(update))
