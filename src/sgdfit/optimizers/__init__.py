"""Optimizers: a gradient and a learning rate -> the next parameters; semantics of torch.optim.

Each rule stands as its options, which are a `UsageError` outside their range, and its update: pure
arithmetic, elementwise, in the subset of Python that Numba compiles. The same update steps NumPy
arrays and, compiled, the scalars of one parameter. Branches are on options and step only, which
are the same for all parameters; options are numbers passed at run time, so that one compiled
kernel serves all their values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import number, spell, switch, whole
from sgdfit.errors import UsageError

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

Array: TypeAlias = NDArray[np.floating[Any]]
Slots: TypeAlias = tuple[Array, ...]
Options: TypeAlias = tuple[float, ...]


class Optimizer(NamedTuple):
    """How a gradient changes the parameters: two pure functions and the numbers they take.

    ``init(theta, options)`` returns the state, a tuple of arrays shaped and typed like ``theta``.
    ``update(theta, gradient, state, rate, step, options)`` returns the next theta and state,
    elementwise, and leaves its arguments as they are. ``step`` counts from 1; ``rate`` and the
    options are Python floats (NumPy scalars would widen float32 arrays), booleans 0.0 and 1.0.
    """

    name: str  # in OPTIMIZERS
    init: Callable[[Array, Options], Slots]
    update: Callable[[Array, Array, Slots, float, int, Options], tuple[Array, Slots]]
    options: Options
    option_names: tuple[str, ...]
    average_from: int | None = None  # iterates are averaged after so many steps; None: never

    @property
    def chosen(self) -> dict[str, float]:
        """The options by their names."""
        return dict(zip(self.option_names, self.options, strict=True))


def sgd(
    momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> Optimizer:
    """Gradient descent, stochastic when the batches are, as torch.optim.SGD.

    ``momentum``, 0 or more, is the share of the last direction that is kept, 0.9 is common;
    ``dampening`` the share of the new gradient that is left out of it from the second step on;
    ``nesterov`` looks ahead along the momentum (Nesterov 1983) and needs it undampened.
    ``weight_decay``, 0 or more, adds ``weight_decay * theta`` to the gradient: it pulls the
    estimates toward 0, away from least squares.

    Examples
    --------
    >>> heavy = sgd(momentum=0.5)
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> state = heavy.init(theta, heavy.options)
    >>> heavy.update(theta, gradient, state, 0.1, 1, heavy.options)[0]
    array([0.9, 2.1])
    """
    found = _rule("sgd", one_slot, sgd_update, **locals())
    if nesterov and (momentum <= 0 or dampening != 0):
        raise UsageError(
            "sgd with nesterov=True needs momentum above 0 and dampening 0, not"
            f" momentum={momentum!r} and dampening={dampening!r}; write for example"
            " sgd(momentum=0.9, nesterov=True)."
        )
    return found


def sgd_update(
    theta: Array, gradient: Array, state: Slots, rate: float, step: int, options: Options
) -> tuple[Array, Slots]:
    """Step by gradient descent with momentum (Sutskever et al. 2013, ICML, section 2)."""
    momentum, dampening, nesterov, weight_decay = options
    (buffer,) = state
    if weight_decay != 0.0:
        gradient = gradient + weight_decay * theta
    direction = gradient
    if momentum != 0.0:
        # The first gradient enters undampened; as a copy, since the caller may reuse its array.
        buffer = 1.0 * gradient if step == 1 else momentum * buffer + (1.0 - dampening) * gradient
        direction = gradient + momentum * buffer if nesterov != 0.0 else buffer
    return theta - rate * direction, (buffer,)


def adagrad(
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator: float = 0.0,
    epsilon: float = 1e-10,
) -> Optimizer:
    """Divide steps by the root of the sum of all squared gradients, as torch.optim.Adagrad.

    ``lr_decay`` divides the rate by ``1 + lr_decay * (step - 1)``, ``initial_accumulator`` is where
    the sum starts, ``epsilon`` is added to the divisor, in units of the gradient; ``weight_decay``
    as in `sgd`. All are 0 or more.
    """
    return _rule("adagrad", adagrad_init, adagrad_update, **locals())


def adagrad_init(theta: Array, options: Options) -> Slots:
    """Return the state that starts the sum of squares at the option ``initial_accumulator``."""
    return (np.full_like(theta, options[2]),)


def adagrad_update(
    theta: Array, gradient: Array, state: Slots, rate: float, step: int, options: Options
) -> tuple[Array, Slots]:
    """Step by Adagrad (Duchi, Hazan and Singer 2011, JMLR 12, 2121-2159)."""
    lr_decay, weight_decay, _, epsilon = options
    (total,) = state
    if weight_decay != 0.0:
        gradient = gradient + weight_decay * theta
    total = total + gradient * gradient
    rate = rate / (1.0 + (step - 1) * lr_decay)
    return theta - rate * gradient / (np.sqrt(total) + epsilon), (total,)


def rmsprop(
    alpha: float = 0.99,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """Divide steps by the root of the recent mean squared gradient, as torch.optim.RMSprop.

    ``alpha`` is the share of the past that the running mean of squares keeps; ``centered`` divides
    by the running standard deviation instead (Graves 2013, arXiv:1308.0850, p. 23); ``epsilon`` as
    in `adagrad`, ``weight_decay`` and ``momentum`` as in `sgd`. All are 0 or more.
    """
    return _rule("rmsprop", three_slots, rmsprop_update, **locals())


def rmsprop_update(
    theta: Array, gradient: Array, state: Slots, rate: float, step: int, options: Options
) -> tuple[Array, Slots]:
    """Step by RMSprop (Tieleman and Hinton 2012, lecture 6.5; centred: Graves 2013)."""
    alpha, epsilon, weight_decay, momentum, centered = options
    square, mean, buffer = state
    if weight_decay != 0.0:
        gradient = gradient + weight_decay * theta
    square = alpha * square + (1.0 - alpha) * gradient * gradient
    spread: Array = square
    if centered != 0.0:
        mean = mean + (gradient - mean) * (1.0 - alpha)
        # Rounding may leave a variance of nearly equal gradients below zero.
        spread = np.maximum(square - mean * mean, 0.0)
    direction = gradient / (np.sqrt(spread) + epsilon)
    if momentum > 0.0:
        buffer = momentum * buffer + direction
        direction = buffer
    return theta - rate * direction, (square, mean, buffer)


def adam(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Divide momentum by the root of the recent mean squared gradient, as torch.optim.Adam.

    ``beta1`` and ``beta2``, from 0 to below 1, are the shares of the past that the running means
    of the gradient and of its square keep; ``amsgrad`` divides by the largest mean square so far
    (Reddi, Kale and Kumar 2018); ``epsilon`` as in `adagrad`, ``weight_decay`` as in `sgd`.
    """
    return _rule("adam", three_slots, adam_update, **locals(), decoupled=False)


def adamw(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with weight decay apart from the gradient, as torch.optim.AdamW.

    ``weight_decay``, 0 or more, multiplies the parameters by ``1 - rate * weight_decay`` each
    step: it pulls the estimates toward 0, away from least squares, and its default is not 0. The
    other options are those of `adam`.
    """
    return _rule("adamw", three_slots, adam_update, **locals(), decoupled=True)


def adam_update(
    theta: Array, gradient: Array, state: Slots, rate: float, step: int, options: Options
) -> tuple[Array, Slots]:
    """Step by Adam (Kingma and Ba 2015, ICLR, algorithm 1) or AdamW (Loshchilov and Hutter 2019).

    AMSGrad: Reddi, Kale and Kumar 2018, ICLR, algorithm 2, as torch corrects its bias.
    """
    beta1, beta2, epsilon, weight_decay, amsgrad, decoupled = options
    mean, square, largest = state
    if weight_decay != 0.0:
        if decoupled != 0.0:
            theta = theta * (1.0 - rate * weight_decay)
        else:
            gradient = gradient + weight_decay * theta
    mean = mean + (gradient - mean) * (1.0 - beta1)
    square = beta2 * square + (1.0 - beta2) * gradient * gradient
    second: Array = square
    if amsgrad != 0.0:
        largest = np.maximum(largest, square)
        second = largest
    # Powers of floats: np.sqrt would make NumPy scalars, which widen float32 arrays, and a power
    # by an integer is a loop that the compiler cannot share among the parameters.
    elapsed = 1.0 * step
    rate = rate / (1.0 - beta1**elapsed)
    unbias = (1.0 - beta2**elapsed) ** 0.5
    return theta - rate * mean / (np.sqrt(second) / unbias + epsilon), (mean, square, largest)


def averaged(optimizer: Optimizer | None = None, start: int = 0) -> Optimizer:
    """Average the parameters over the steps (Polyak and Juditsky 1992, SIAM J. Control 30, 838).

    From step ``start + 1`` on, counted from 1, the estimate is the plain mean of the parameters
    after each step, ``average += (theta - average) / k`` at the k-th of them, as
    torch.optim.swa_utils.AveragedModel updated after every step. The steps do not change.

    ``optimizer`` makes the steps, by default `sgd`; ``start`` is 0 or more.
    """
    optimizer = sgd() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise UsageError(
            f"averaged needs an optimizer such as averaged(adam()), not {optimizer!r}."
        )
    if optimizer.average_from is not None:
        raise UsageError(f"{describe(optimizer)} is averaged already; average it once.")
    return optimizer._replace(average_from=whole(start, "start of averaged", 0))


_ALL = (sgd, adagrad, rmsprop, adam, adamw, averaged)
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {make.__name__: make for make in _ALL}
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
    >>> describe(averaged(adam(beta1=0.8, amsgrad=True), start=100))
    'averaged(adam(beta1=0.8, amsgrad=True), start=100)'
    """
    options = optimizer.chosen
    factory = OPTIMIZERS.get(optimizer.name)
    if factory is None:
        text = f"{optimizer.name}({', '.join(f'{k}={v!r}' for k, v in options.items())})"
    else:
        text = spell(optimizer.name, factory, options)
    if optimizer.average_from is None:
        return text
    start = f", start={optimizer.average_from}" if optimizer.average_from else ""
    return f"averaged({text}{start})"


def one_slot(theta: Array, options: Options) -> Slots:
    """Return the state of one array of zeros."""
    return (np.zeros_like(theta),)


def three_slots(theta: Array, options: Options) -> Slots:
    """Return the state of three arrays of zeros."""
    return (np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta))


def _rule(
    name: str,
    init: Callable[[Array, Options], Slots],
    update: Callable[..., tuple[Array, Slots]],
    **options: float,
) -> Optimizer:
    """Return the optimizer whose options, in order, are ``options``, each within torch's range."""
    values = tuple(_option(value, option, name) for option, value in options.items())
    return Optimizer(name, init, update, values, tuple(options))


def _option(value: float, option: str, name: str) -> float:
    what = f"{option} of {name}"
    if option in ("nesterov", "centered", "amsgrad", "decoupled"):
        return float(switch(value, what))
    result = number(value, what)
    if option in ("beta1", "beta2") and not 0.0 <= result < 1.0:
        raise UsageError(f"{what} must be at least 0 and below 1, not {value!r}.")
    if option != "dampening" and result < 0.0:
        raise UsageError(f"{what} must be 0 or more, not {value!r}.")
    return result
