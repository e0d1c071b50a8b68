"""Options of `sgdfit.fit` as users write them, checked and brought to one form."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgdfit.choice import choose, number, whole
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "AUTO",
    "PROFILE",
    "WALD",
    "as_batch_size",
    "as_callable",
    "as_dtype",
    "as_intervals",
    "as_kernel",
    "as_length",
    "as_optimizer",
    "as_start",
    "as_steps",
    "as_tolerance",
    "callback_interval",
    "trace_interval",
]

AUTO = "auto"
WALD, PROFILE = "wald", "profile"
DEFAULT_STEPS = 1_000
TRACE_ROWS = 10_000
# More than a machine can take in a lifetime; beyond it, counters could overflow.
MOST_STEPS = 10**18


def as_optimizer(optimizer: str | Optimizer | None, **textbook: object) -> Optimizer | None:
    """Return an `Optimizer` from its name with options, or one as it is; None for ``auto``.

    Parameters
    ----------
    optimizer : str, Optimizer or None
        None: sgd where one of the options that only textbook descent has is given, else ``auto``.
    **textbook : object
        These options by name; None where one is not given.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    given = [name for name, value in textbook.items() if value is not None]
    if optimizer is None:
        return OPTIMIZERS["sgd"]() if given else None
    if not isinstance(optimizer, str):
        raise UsageError(
            f"an optimizer is a name such as 'sgd(momentum=0.9)', not {optimizer!r};"
            f" there are {', '.join((AUTO, *OPTIMIZERS))}"
        )
    # Nothing wraps auto, so it is known where it stands alone.
    alone: dict[str, Callable[..., Optimizer | None]] = {} if "(" in optimizer else {AUTO: _none}
    chosen = choose(optimizer, {**alone, **OPTIMIZERS}, "optimizer")
    if chosen is None and given:
        raise UsageError(
            f"the optimizer auto decides {' and '.join(given)} by itself; leave that out, or name"
            " another optimizer, such as 'sgd'"
        )
    return chosen


def as_intervals(intervals: str, optimizer: Optimizer | None, loss: str, covariance: str) -> str:
    """Return ``wald`` or ``profile``, where that goes with the other options."""
    if intervals not in (WALD, PROFILE):
        raise UsageError(
            f"intervals is {intervals!r}; it is {WALD!r} or {PROFILE!r}."
            + did_you_mean(str(intervals), (WALD, PROFILE))
        )
    if intervals == WALD:
        return WALD
    if optimizer is not None:
        raise UsageError(
            f"intervals='profile' refits by the optimizer auto, not by {optimizer.name}; leave out"
            " the optimizer and what belongs to it (learning rate, schedule, batch size, epochs),"
            " or keep intervals='wald'"
        )
    if loss != "mse":
        raise UsageError(
            f"intervals='profile' compares sums of squares, which the loss {loss} is not; use the"
            " loss mse, or keep intervals='wald'"
        )
    if covariance == "sandwich":
        raise UsageError(
            "intervals='profile' takes the scatter of the rows from their weights, which"
            " covariance='sandwich' does not; give one of them"
        )
    return PROFILE


def _none() -> None:
    """Make no optimizer of the textbook's: auto is none of them."""


def as_batch_size(batch_size: int | str, rows: int) -> int:
    """Return how many rows one step takes, at most all."""
    if isinstance(batch_size, str):
        if batch_size == "full":
            return rows
        if not batch_size.isdecimal():
            raise UsageError(f"batch_size is {batch_size!r}; give a number of rows or 'full'")
        batch_size = int(batch_size)
    return min(whole(batch_size, "batch_size", 1), rows)


def as_callable(given: Callable[..., object] | None, what: str) -> Callable[..., object] | None:
    """Return a function, or None, as it is."""
    if given is not None and not callable(given):
        raise UsageError(f"{what} must be a function, not {reprlib.repr(given)}")
    return given


def as_start(start: list[float], dtype: np.dtype[Any], names: Sequence[str]) -> np.ndarray:
    """Return where the parameters start, in the type of the steps."""
    with np.errstate(over="ignore"):
        begin = np.array(start, dtype=dtype)
    for name, value, held in zip(names, start, begin, strict=True):
        if not np.isfinite(held):
            raise UsageError(
                f"the start {name} = {value:g} does not fit {dtype.name}, whose largest number is"
                f" {np.finfo(dtype).max:.3g}; use dtype='float64'"
            )
    return begin


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the type of the steps' arithmetic."""
    try:
        found = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        found = None
    if found is None or found.kind != "f" or found.itemsize not in (4, 8):
        raise UsageError(f"dtype={dtype!r} is neither 'float64' nor 'float32'")
    native: np.dtype[Any] = found.newbyteorder("=")
    return native


def as_kernel(kernel: str, optimizer: Optimizer) -> str:
    """Return the form of the kernel that was asked for; one's own optimizer needs NumPy's."""
    if optimizer.name in OPTIMIZERS or kernel not in ("auto", "compiled"):
        return kernel
    if kernel == "compiled":
        raise UsageError(f"the optimizer {optimizer.name!r} is not compiled; use kernel='numpy'")
    return "numpy"


def as_length(steps: int | None, epochs: int | None, rows: int, batch_size: int) -> int:
    """Return how many steps to take."""
    if steps is not None and epochs is not None:
        raise UsageError(f"steps={steps} and epochs={epochs} are two lengths; give one of them")
    if epochs is not None:
        return _finite(whole(epochs, "epochs", 1) * -(-rows // batch_size))
    return as_steps(steps, DEFAULT_STEPS)


def as_steps(steps: int | None, usual: int) -> int:
    """Return how many steps to take at most."""
    return usual if steps is None else _finite(whole(steps, "steps", 1))


def _finite(length: int) -> int:
    if length > MOST_STEPS:
        raise UsageError(f"{length:.3g} steps would never end; give at most {MOST_STEPS:.0e}")
    return length


def as_tolerance(tolerance: float | None) -> float | None:
    """Return the distance, in standard errors, at which to stop; None: do not."""
    if tolerance is None:
        return None
    value = number(tolerance, "tolerance")
    if value <= 0:
        raise UsageError(f"tolerance is {value:g} standard errors; it must be above 0")
    return value


def trace_interval(trace_every: int | None, steps: int) -> tuple[int, bool]:
    """Return the steps between two records, and whether the trace is to keep them."""
    usual = -(-steps // TRACE_ROWS)
    if trace_every is None:
        return usual, True
    asked = min(whole(trace_every, "trace_every", 0), steps)
    return asked or usual, asked > 0


def callback_interval(given: int | None, rows: int, batch_size: int) -> int:
    """Return the steps between two calls: by default an epoch."""
    return -(-rows // batch_size) if given is None else whole(given, "callback_every", 1)
