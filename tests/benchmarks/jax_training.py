"""The tutorial's training of many replicas in JAX: ``vmap`` over a jitted scan of all steps that keeps their norms."""

import time
from typing import Any

import numpy as np

from gradclip.data.sources import regression

ROWS, BATCH = 500, 32


def seconds_of_jax(replicas: int, epochs: int) -> float:
    """Return the seconds of one call after compilation."""
    import jax
    import jax.numpy as jnp

    table = regression()
    inputs = jnp.asarray(table.features.to_numpy()[:ROWS], jnp.float32)
    target = jnp.asarray(table.target.to_numpy()[:ROWS], jnp.float32)
    steps_per_epoch = -(-ROWS // BATCH)

    def initial(key: Any) -> dict[str, Any]:
        first, second = jax.random.split(key)
        bounds = (6 / 20) ** 0.5, (6 / 26) ** 0.5
        return {
            "w1": jax.random.uniform(first, (20, 25), minval=-bounds[0], maxval=bounds[0]),
            "b1": jnp.zeros(25),
            "w2": jax.random.uniform(second, (25,), minval=-bounds[1], maxval=bounds[1]),
            "b2": jnp.zeros(()),
        }

    def loss(weights: dict[str, Any], rows: Any, counts: Any) -> Any:
        hidden = jax.nn.relu(inputs[rows] @ weights["w1"] + weights["b1"])
        errors = hidden @ weights["w2"] + weights["b2"] - target[rows]
        return (counts * errors**2).sum() / counts.sum()

    def step(threshold: Any, state: Any, batch: Any) -> Any:
        weights, momentum = state
        gradients = jax.grad(loss)(weights, *batch)
        norms = jax.tree.map(lambda one: jnp.sqrt((one**2).sum()), gradients)
        norm = jnp.sqrt(sum(one**2 for one in jax.tree.leaves(norms)))
        factor = jnp.minimum(1.0, threshold / norm)
        momentum = jax.tree.map(lambda old, new: 0.9 * old + factor * new, momentum, gradients)
        return (jax.tree.map(lambda old, new: old - 0.01 * new, weights, momentum), momentum), (norms, norm)

    def train(key: Any, threshold: Any) -> Any:
        first, order = jax.random.split(key)
        weights = initial(first)

        def epoch(state: Any, key: Any) -> Any:
            rows = jnp.resize(jax.random.permutation(key, ROWS), (steps_per_epoch * BATCH,))
            counts = (jnp.arange(steps_per_epoch * BATCH) < ROWS).astype(jnp.float32)
            batches = rows.reshape(-1, BATCH), counts.reshape(-1, BATCH)
            return jax.lax.scan(lambda state, batch: step(threshold, state, batch), state, batches)

        zeros = jax.tree.map(jnp.zeros_like, weights)
        return jax.lax.scan(epoch, (weights, zeros), jax.random.split(order, epochs))

    run = jax.jit(jax.vmap(train))
    keys, thresholds = jax.random.split(jax.random.key(0), replicas), jnp.asarray(np.linspace(0.5, 10, replicas))

    def wait(results: Any) -> None:
        for result in jax.tree.leaves(results):
            result.block_until_ready()

    wait(run(keys, thresholds))
    start = time.perf_counter()
    wait(run(keys, thresholds))
    return time.perf_counter() - start
