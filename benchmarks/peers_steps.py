"""What other libraries take for a pass over the rows, and for textbook steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from speed_clock import Contender, peer

__all__ = ["BATCHES", "RATE", "START", "pass_peers", "step_peers"]

BATCHES = (1, 64, 256, 4096)
START = (4.0, 5.0, 7.0)
RATE = 1e-4
# Loops that go through Python for each step take a sample of the steps.
TORCH_STEPS, SCIKIT_ROWS = 200, 200_000


def pass_peers(x: np.ndarray, y: np.ndarray) -> list[Contender]:
    """Loss, gradient and curvature of the quadratic at one point."""
    return [
        peer("JAX", "jax", "jax", lambda: _jax_pass(x, y)),
        peer("torch", "torch", "torch", lambda: _torch_pass(x, y)),
    ]


def step_peers(
    x: np.ndarray, y: np.ndarray, permutation: np.ndarray, batch: int
) -> list[Contender]:
    """An epoch of steps of ``batch`` rows, in the order of ``permutation``."""
    found = [
        peer("JAX scan", "jax", "jax", lambda: _jax_scan(x, y, permutation, batch)),
        peer("torch loop", "torch", "torch", lambda: _torch_loop(x, y, permutation, batch)),
    ]
    if batch == 1:
        made = peer("scikit-learn SGDRegressor", "sklearn", "scikit-learn", lambda: _scikit(x, y))
        found.append(made)
    return found


def _jax() -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    return jax, jnp


def _jax_pass(x: np.ndarray, y: np.ndarray) -> Contender:
    jax, jnp = _jax()
    columns, targets = jnp.asarray(x), jnp.asarray(y)

    @jax.jit
    def sums(theta: Any, x: Any, y: Any) -> Any:
        residual = theta[0] * x * x + theta[1] * x + theta[2] - y
        derivatives = (x * x, x, jnp.ones_like(x))
        gradient = [jnp.sum(residual * d) for d in derivatives]
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        curvature = [jnp.sum(derivatives[i] * derivatives[j]) for i, j in pairs]
        return jnp.stack([jnp.sum(residual * residual), *gradient, *curvature])

    theta = jnp.asarray(START)
    return Contender("", lambda: sums(theta, columns, targets).block_until_ready(), len(x))


def _torch_pass(x: np.ndarray, y: np.ndarray) -> Contender:
    import torch

    columns, targets = torch.from_numpy(x), torch.from_numpy(y)

    def turn() -> Any:
        a, b, c = START
        jacobian = torch.stack([columns * columns, columns, torch.ones_like(columns)])
        residual = a * jacobian[0] + b * columns + c - targets
        return residual @ residual, jacobian @ residual, jacobian @ jacobian.T

    return Contender("", turn, len(x), f"{torch.get_num_threads()} threads")


def _jax_scan(x: np.ndarray, y: np.ndarray, permutation: np.ndarray, batch: int) -> Contender:
    jax, jnp = _jax()
    steps = len(x) // batch
    columns, targets = jnp.asarray(x), jnp.asarray(y)
    order = jnp.asarray(permutation[: steps * batch])

    def step(theta: Any, rows: Any) -> Any:
        x, y = rows

        def loss(theta: Any) -> Any:
            return jnp.mean((theta[0] * x * x + theta[1] * x + theta[2] - y) ** 2)

        return theta - RATE * jax.grad(loss)(theta), None

    @jax.jit
    def epoch(theta: Any, x: Any, y: Any, order: Any) -> Any:
        shape = (steps, batch)
        return jax.lax.scan(step, theta, (x[order].reshape(shape), y[order].reshape(shape)))[0]

    theta = jnp.asarray(START)
    return Contender(
        "",
        lambda: epoch(theta, columns, targets, order).block_until_ready(),
        steps * batch,
        "rows gathered by a ready permutation",
    )


def _torch_loop(x: np.ndarray, y: np.ndarray, permutation: np.ndarray, batch: int) -> Contender:
    import torch

    steps = min(TORCH_STEPS, len(x) // batch)
    columns, targets = torch.from_numpy(x), torch.from_numpy(y)
    order = torch.from_numpy(permutation)

    def turn() -> Any:
        a, b, c = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in START)
        optimizer = torch.optim.SGD([a, b, c], lr=RATE)
        for k in range(steps):
            rows = order[k * batch : (k + 1) * batch]
            u, v = columns[rows], targets[rows]
            optimizer.zero_grad()
            ((a * u * u + b * u + c - v) ** 2).mean().backward()
            optimizer.step()
        return a

    return Contender("", turn, steps * batch, f"{steps} steps, scaled")


def _scikit(x: np.ndarray, y: np.ndarray) -> Contender:
    from sklearn.linear_model import SGDRegressor

    rows = min(SCIKIT_ROWS, len(x))
    columns, targets = np.column_stack([x * x, x])[:rows], y[:rows]

    def turn() -> Any:
        fit = SGDRegressor(penalty=None, learning_rate="constant", eta0=RATE)
        return fit.partial_fit(columns, targets)

    made: Callable[[], Any] = turn
    return Contender("", made, rows, f"{rows:,} rows, scaled")
