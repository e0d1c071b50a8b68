"""Optimizers: a gradient and a learning rate -> the next parameters; semantics of torch.optim.

Options are numbers that are passed to the update at run time, so that one compiled kernel serves
all their values. The arithmetic stands in `sgdfit.optimizers.updates`.
"""

from __future__ import annotations

from collections.abc import Callable

from sgdfit.choice import spell, whole
from sgdfit.errors import UsageError
from sgdfit.optimizers.adaptive import adagrad, adam, adamw, rmsprop
from sgdfit.optimizers.method import Optimizer, checked
from sgdfit.optimizers.updates import one_slot, sgd_update

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
    found = checked("sgd", one_slot, sgd_update, **locals())
    if nesterov and (momentum <= 0 or dampening != 0):
        raise UsageError(
            "sgd with nesterov=True needs momentum above 0 and dampening 0, not"
            f" momentum={momentum!r} and dampening={dampening!r}; write for example"
            " sgd(momentum=0.9, nesterov=True)."
        )
    return found


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
