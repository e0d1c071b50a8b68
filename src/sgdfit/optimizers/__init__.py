"""Optimizers: a gradient and a learning rate -> the next parameters; semantics of torch.optim.

Options are numbers that are passed to the update at run time, so that one compiled kernel serves
all their values. The arithmetic stands in `sgdfit.optimizers.updates`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sgdfit.choice import number, spell, switch, whole
from sgdfit.errors import UsageError
from sgdfit.optimizers.updates import (
    Array,
    Options,
    State,
    adagrad_init,
    adagrad_update,
    adam_update,
    one_slot,
    rmsprop_update,
    sgd_update,
    three_slots,
)

__all__ = [
    "DEFAULT_RATES",
    "OPTIMIZERS",
    "Optimizer",
    "adagrad",
    "adam",
    "adamw",
    "averaged",
    "describe",
    "rmsprop",
    "sgd",
]


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


def sgd(
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Gradient descent, stochastic when the batches are, as torch.optim.SGD.

    Parameters
    ----------
    momentum : float
        The share of the last direction that is kept, 0 or more; 0.9 is common.
    dampening : float
        The share of the new gradient that is left out of the momentum from the second step on.
    nesterov : bool
        Look ahead along the momentum (Nesterov 1983); needs momentum and no dampening.
    weight_decay : float
        Adds ``weight_decay * theta`` to the gradient, 0 or more. It pulls the estimates toward
        0, away from least squares.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> heavy = sgd(momentum=0.5)
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> state = heavy.init(theta, heavy.options)
    >>> heavy.update(theta, gradient, state, 0.1, 1, heavy.options)[0]
    array([0.9, 2.1])
    """
    found = _checked("sgd", one_slot, sgd_update, **locals())
    if nesterov and (momentum <= 0 or dampening != 0):
        raise UsageError(
            "sgd with nesterov=True needs momentum above 0 and dampening 0, not"
            f" momentum={momentum!r} and dampening={dampening!r}; write for example"
            " sgd(momentum=0.9, nesterov=True)."
        )
    return found


def adagrad(
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator: float = 0.0,
    epsilon: float = 1e-10,
) -> Optimizer:
    """Divide steps by the root of the sum of all squared gradients, as torch.optim.Adagrad.

    Parameters
    ----------
    lr_decay : float
        Divides the rate by ``1 + lr_decay * (step - 1)``, 0 or more.
    weight_decay : float
        Adds ``weight_decay * theta`` to the gradient, 0 or more. It pulls the estimates toward
        0, away from least squares.
    initial_accumulator : float
        Where the sum of squares starts, 0 or more.
    epsilon : float
        Added to the divisor, 0 or more, in units of the gradient.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> from sgdfit.optimizers import describe
    >>> describe(adagrad(lr_decay=0.1))
    'adagrad(lr_decay=0.1)'
    """
    return _checked("adagrad", adagrad_init, adagrad_update, **locals())


def rmsprop(
    alpha: float = 0.99,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """Divide steps by the root of the recent mean squared gradient, as torch.optim.RMSprop.

    Parameters
    ----------
    alpha : float
        The share of the past that the running mean of squares keeps, 0 or more.
    epsilon : float
        Added to the divisor, 0 or more, in units of the gradient.
    weight_decay : float
        Adds ``weight_decay * theta`` to the gradient, 0 or more. It pulls the estimates toward
        0, away from least squares.
    momentum : float
        The share of the last direction that is kept, 0 or more.
    centered : bool
        Divide by the running standard deviation instead (Graves 2013, arXiv:1308.0850, p. 23).

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> from sgdfit.optimizers import describe
    >>> describe(rmsprop(centered=True))
    'rmsprop(centered=True)'
    """
    return _checked("rmsprop", three_slots, rmsprop_update, **locals())


def adam(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Divide momentum by the root of the recent mean squared gradient, as torch.optim.Adam.

    Parameters
    ----------
    beta1, beta2 : float
        The shares of the past that the running means of the gradient and of its square keep,
        from 0 to below 1.
    epsilon : float
        Added to the divisor, 0 or more, in units of the gradient.
    weight_decay : float
        Adds ``weight_decay * theta`` to the gradient, 0 or more. It pulls the estimates toward
        0, away from least squares.
    amsgrad : bool
        Divide by the largest mean square so far (Reddi, Kale and Kumar 2018).

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> from sgdfit.optimizers import describe
    >>> describe(adam(beta1=0.8, amsgrad=True))
    'adam(beta1=0.8, amsgrad=True)'
    """
    return _checked("adam", three_slots, adam_update, **locals(), decoupled=False)


def adamw(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with weight decay apart from the gradient, as torch.optim.AdamW.

    Parameters
    ----------
    beta1, beta2, epsilon, amsgrad
        As in `adam`.
    weight_decay : float
        Multiplies the parameters by ``1 - rate * weight_decay`` each step, 0 or more. It pulls
        the estimates toward 0, away from least squares; its default is not 0.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> from sgdfit.optimizers import describe
    >>> describe(adamw(weight_decay=0.1))
    'adamw(weight_decay=0.1)'
    """
    return _checked("adamw", three_slots, adam_update, **locals(), decoupled=True)


def averaged(optimizer: Optimizer | None = None, start: int = 0) -> Optimizer:
    """Average the parameters over the steps (Polyak and Juditsky 1992, SIAM J. Control 30, 838).

    From step ``start + 1`` on, counted from 1, the estimate is the plain mean of the parameters
    after each step, ``average += (theta - average) / k`` at the k-th of them, as
    torch.optim.swa_utils.AveragedModel updated after every step. The steps do not change.

    Parameters
    ----------
    optimizer : Optimizer, optional
        What makes the steps; by default `sgd` without options.
    start : int
        How many steps go before the first that is averaged, 0 or more.

    Raises
    ------
    UsageError
        When ``optimizer`` is none, or averaged already, or ``start`` is negative or not whole.

    Examples
    --------
    >>> describe(averaged(adam(beta1=0.8), start=100))
    'averaged(adam(beta1=0.8), start=100)'
    """
    optimizer = sgd() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise UsageError(
            f"averaged needs an optimizer such as averaged(adam()), not {optimizer!r}."
        )
    if optimizer.average_from is not None:
        raise UsageError(f"{describe(optimizer)} is averaged already; average it once.")
    return optimizer._replace(average_from=whole(start, "start of averaged", 0))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "averaged": averaged,
}
"""The optimizers by name."""

DEFAULT_RATES: dict[str, float | None] = {
    "sgd": None,
    "adagrad": 1e-2,
    "rmsprop": 1e-2,
    "adam": 1e-3,
    "adamw": 1e-3,
}
"""The learning rate of each optimizer when none is given, torch's; None: from the curvature."""


def describe(optimizer: Optimizer) -> str:
    """Return the optimizer as text that `sgdfit.choice.choose` reads, without default options.

    Examples
    --------
    >>> describe(sgd(momentum=0.9, nesterov=True))
    'sgd(momentum=0.9, nesterov=True)'
    >>> describe(averaged())
    'averaged(sgd)'
    """
    options = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    factory = OPTIMIZERS.get(optimizer.name)
    if factory is None:
        text = f"{optimizer.name}({', '.join(f'{k}={v!r}' for k, v in options.items())})"
    else:
        text = spell(optimizer.name, factory, options)
    if optimizer.average_from is None:
        return text
    start = f", start={optimizer.average_from}" if optimizer.average_from else ""
    return f"averaged({text}{start})"


def _checked(
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
