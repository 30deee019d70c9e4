"""With Lightning's ModelParallelStrategy, two processes give the record and the weights of one process."""

import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

import numpy as np
import torch
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from gradclip import Adaptive, Chain, ClipGradients, GradientMonitor, Norm
from tests.support.mlflow_server import free_port
from tests.support.small_trainings import Training, batches, fit, make
from tests.support.torch_version import NEEDS_FSDP_ON_CPU
from tests.support.warm_process import FORKS

PROCESSES = 2


class Sharded(Training):
    def configure_model(self):
        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.body, mesh=mesh)
        fully_shard(self.head, mesh=mesh)


def train(lightning, training=Training, part=slice(None), **settings):
    """Train on a part of each batch of four rows and return the weights and the record."""
    module, monitor = make(lightning, training), GradientMonitor(flush_every=3)
    clip = ClipGradients(Chain(Norm(1.0), Adaptive(0.1)))
    rows = TensorDataset(*(tensor[part] for tensor in batches(4, 4).dataset.tensors))
    data = DataLoader(rows, batch_size=len(rows) // 4)
    fit(lightning, module, monitor, clip, data=data, use_distributed_sampler=False, **settings)
    weights = [getattr(weight, "full_tensor", lambda weight=weight: weight)() for weight in module.parameters()]
    return [weight.detach().numpy() for weight in weights], monitor.record


def work(rank, package, port):
    """Train in one of the processes, with environment variables as a launcher sets them."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    strategy = import_module(f"{package}.strategies").ModelParallelStrategy(PROCESSES, tensor_parallel_size=1)
    part = slice(rank, None, PROCESSES)
    return train(import_module(package), Sharded, part, devices=PROCESSES, strategy=strategy)


@NEEDS_FSDP_ON_CPU
def test_two_processes_give_the_record_and_weights_of_one(lightning):
    port = str(free_port())
    with ProcessPoolExecutor(PROCESSES, mp_context=FORKS) as pool:
        futures = [pool.submit(work, rank, lightning.__name__, port) for rank in range(PROCESSES)]
        by_rank = [future.result() for future in futures]
    weights, record = train(lightning)
    assert len(record.step) == 4
    for own_weights, own in by_rank:
        for one, other in zip(own_weights, weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        for column in ("loss", "norms", "norms_clipped", "weights", "updates", "max_abs", "inner_product"):
            np.testing.assert_allclose(getattr(own, column), getattr(record, column), rtol=1e-4, err_msg=column)
