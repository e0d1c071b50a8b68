"""What an optimizer is, and which options it may be given."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sgdfit.choice import number, switch
from sgdfit.errors import UsageError
from sgdfit.optimizers.updates import Array, Options, State

__all__ = ["Optimizer", "checked"]

_SWITCHES = {"nesterov", "centered", "amsgrad", "decoupled"}
_UNIT_INTERVAL = {"beta1", "beta2"}
_ANY_SIGN = {"dampening"}


class Optimizer(NamedTuple):
    """How a gradient changes the parameters: two pure functions and the numbers they take.

    Attributes
    ----------
    name : str
        Its name in `sgdfit.optimizers.OPTIMIZERS`.
    init : callable
        ``(theta, options) -> state``: a tuple of arrays, each shaped and typed like ``theta``.
    update : callable
        ``(theta, gradient, state, rate, step, options) -> (theta, state)``, elementwise. ``step``
        counts from 1; ``rate`` and the options are Python floats (NumPy scalars would widen
        float32 arrays). The arguments are left as they are.
    options : tuple of float
        The numbers that both functions take; booleans as 0.0 and 1.0.
    option_names : tuple of str
        Their names, in the same order.
    average_from : int or None
        Iterate averaging starts after this many steps; None: no averaging.
    """

    name: str
    init: Callable[[Array, Options], State]
    update: Callable[[Array, Array, State, float, int, Options], tuple[Array, State]]
    options: Options
    option_names: tuple[str, ...]
    average_from: int | None = None


def checked(
    name: str,
    init: Callable[[Array, Options], State],
    update: Callable[..., tuple[Array, State]],
    **options: float,
) -> Optimizer:
    """Return the optimizer whose options, in order, are ``options``, each within torch's range."""
    values = tuple(_option(value, option, name) for option, value in options.items())
    return Optimizer(name, init, update, values, tuple(options))


def _option(value: float, option: str, name: str) -> float:
    what = f"{option} of {name}"
    if option in _SWITCHES:
        return float(switch(value, what))
    result = number(value, what)
    if option in _UNIT_INTERVAL and not 0.0 <= result < 1.0:
        raise UsageError(f"{what} must be at least 0 and below 1, not {value!r}.")
    if option not in _ANY_SIGN and result < 0.0:
        raise UsageError(f"{what} must be 0 or more, not {value!r}.")
    return result
