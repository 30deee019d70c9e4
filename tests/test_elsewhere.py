"""The README's table of settings elsewhere: each row against that library, or the formula in its source."""

import re

import pytest
import torch
from hydra import compose, initialize_config_dir

from gradclip.clipping.methods import make_clipper
from gradclip.config import validate
from gradclip.project import CONFIG_FOLDER, register_resolvers
from tests.conftest import ROOT

TABLE = (ROOT / "README.md").read_text().partition("## Your setting elsewhere")[2].partition("\n## ")[0]
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


def each_by_its_norm(gradients):
    return {name: gradient * 1.0 / max(gradient.norm(), 1.0) for name, gradient in gradients.items()}


def tensorflow(gradients):
    return scaled(gradients, 1.0 * min(1.0 / global_norm(gradients), 1.0))


def optax_by_global_norm(gradients):
    norm = global_norm(gradients)
    return gradients if norm < 1.0 else scaled(gradients, 1.0 / norm)


def clamped(gradients):
    return {name: gradient.clamp(-5.0, 5.0) for name, gradient in gradients.items()}


def unit_wise(gradient, weight, dimensions):
    """The rule of optax and timm, with the dimensions over which they take a unit's norm."""
    largest = 0.01 * weight.norm(dim=dimensions, keepdim=True).clamp(min=1e-3)
    norm = gradient.norm(dim=dimensions, keepdim=True)
    return torch.where(norm < largest, gradient, gradient * (largest / norm.clamp(min=1e-6)))


def optax_adaptive(gradients):
    """On weights laid out as JAX has them, inputs first."""
    weight = unit_wise(gradients["weight"].T, WEIGHTS["weight"].T, 0).T
    return {"weight": weight, "bias": unit_wise(gradients["bias"], WEIGHTS["bias"], 0)}


def timm_adaptive(gradients):
    weight = unit_wise(gradients["weight"], WEIGHTS["weight"], 1)
    return {"weight": weight, "bias": unit_wise(gradients["bias"], WEIGHTS["bias"], 0)}


def nothing_above(limit):
    def clip(gradients):
        kept = torch.isfinite(global_norm(gradients)) and global_norm(gradients) ** 2 < limit**2
        return gradients if kept else scaled(gradients, 0.0)

    return clip


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
    each_by_its_norm,
    tensorflow,  # Keras's global_clipnorm is TensorFlow's function
    clamped,
    tensorflow,
    optax_by_global_norm,
    clamped,
    optax_adaptive,
    nothing_above(torch.inf),
    nothing_above(5.0),
    torch_norm,  # timm
    torch_value,
    timm_adaptive,
    deepspeed,
]


@pytest.mark.parametrize(("row", "theirs"), zip(ROWS, THEIRS, strict=True), ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("gradients", [GRADIENTS, SMALL], ids=["large", "small"])
def test_our_setting_does_what_theirs_does(row, theirs, gradients):
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        settings = validate(compose("train", row[1].split())).clip.model_dump()
    clipper = make_clipper(**settings)
    ours = clipper(gradients, WEIGHTS, clipper.init(WEIGHTS))[0]
    torch.testing.assert_close(ours, theirs(gradients), rtol=1e-5, atol=1e-7)
