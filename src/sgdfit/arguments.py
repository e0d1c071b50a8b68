"""Options of `sgdfit.fit` as users write them, checked and brought to one form."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgdfit.choice import choose, number, whole
from sgdfit.errors import UsageError
from sgdfit.optimizer import OPTIMIZERS, Optimizer

__all__ = [
    "as_batch_size",
    "as_dtype",
    "as_length",
    "as_optimizer",
    "as_tolerance",
    "callback_interval",
    "trace_interval",
]

DEFAULT_STEPS = 1_000
TRACE_ROWS = 10_000


def as_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """Return an `Optimizer` from its name with options, or one as it is."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise UsageError(
            f"an optimizer is a name such as 'sgd(momentum=0.9)', not {optimizer!r};"
            f" there are {', '.join(OPTIMIZERS)}"
        )
    return choose(optimizer, OPTIMIZERS, "optimizer")


def as_batch_size(batch_size: int | str, rows: int) -> int:
    """Return how many rows one step takes, at most all."""
    if batch_size == "full":
        return rows
    if isinstance(batch_size, str):
        if not batch_size.isdecimal():
            raise UsageError(f"batch_size is {batch_size!r}; give a number of rows or 'full'")
        batch_size = int(batch_size)
    return min(whole(batch_size, "batch_size", 1), rows)


def as_dtype(dtype: str) -> np.dtype[Any]:
    """Return the type of the steps' arithmetic."""
    if dtype not in ("float64", "float32"):
        raise UsageError(f"dtype={dtype!r} is neither 'float64' nor 'float32'")
    return np.dtype(dtype)


def as_length(steps: int | None, epochs: int | None, rows: int, batch_size: int) -> int:
    """Return how many steps to take."""
    if steps is not None and epochs is not None:
        raise UsageError(f"steps={steps} and epochs={epochs} are two lengths; give one of them")
    if epochs is not None:
        return whole(epochs, "epochs", 1) * -(-rows // batch_size)
    return DEFAULT_STEPS if steps is None else whole(steps, "steps", 1)


def as_tolerance(tolerance: float | None) -> float | None:
    """Return the distance, in standard errors, at which to stop; None: do not."""
    if tolerance is None:
        return None
    value = number(tolerance, "tolerance")
    if value <= 0:
        raise UsageError(f"tolerance is {value:g} standard errors; it must be above 0")
    return value


def trace_interval(trace_every: int | None, steps: int) -> int:
    """Return the steps between two rows of the trace; 0: none are kept."""
    if trace_every is None:
        return -(-steps // TRACE_ROWS)
    return whole(trace_every, "trace_every", 0)


def callback_interval(given: int | None, rows: int, batch_size: int) -> int:
    """Return the steps between two calls: by default an epoch."""
    return -(-rows // batch_size) if given is None else whole(given, "callback_every", 1)
