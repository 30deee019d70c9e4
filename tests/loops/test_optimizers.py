"""The parameters of an optimizer are read again if another optimizer groups them differently."""

import torch
from torch import nn

from gradclip.loops.optimizers import OptimizerParameters


def test_the_groups_of_another_optimizer_with_the_same_parameters_are_read():
    module = nn.Linear(2, 1)
    parameters = OptimizerParameters(module)
    parameters.read(torch.optim.SGD(module.parameters(), lr=0.1))
    parameters.read(torch.optim.SGD([{"params": [module.weight]}, {"params": [module.bias]}], lr=0.1))
    assert parameters.group_of == {"weight": 0, "bias": 1}
