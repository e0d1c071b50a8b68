"""The arithmetic of the optimizers: pure, elementwise, in the subset of Python that Numba compiles.

The same function steps NumPy arrays and, compiled, the scalars of one parameter. Branches are on
options and step only, which are the same for all parameters.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Options",
    "State",
    "adagrad_init",
    "adagrad_update",
    "adam_update",
    "one_slot",
    "rmsprop_update",
    "sgd_update",
    "three_slots",
]

Array: TypeAlias = NDArray[np.floating[Any]]
State: TypeAlias = tuple[Array, ...]
Options: TypeAlias = tuple[float, ...]


def one_slot(theta: Array, options: Options) -> State:
    """Return the state of one array of zeros."""
    return (np.zeros_like(theta),)


def three_slots(theta: Array, options: Options) -> State:
    """Return the state of three arrays of zeros."""
    return (np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta))


def adagrad_init(theta: Array, options: Options) -> State:
    """Return the state that starts the sum of squares at the option ``initial_accumulator``."""
    return (np.full_like(theta, options[2]),)


def sgd_update(
    theta: Array, gradient: Array, state: State, rate: float, step: int, options: Options
) -> tuple[Array, State]:
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


def adagrad_update(
    theta: Array, gradient: Array, state: State, rate: float, step: int, options: Options
) -> tuple[Array, State]:
    """Step by Adagrad (Duchi, Hazan and Singer 2011, JMLR 12, 2121-2159)."""
    lr_decay, weight_decay, _, epsilon = options
    (total,) = state
    if weight_decay != 0.0:
        gradient = gradient + weight_decay * theta
    total = total + gradient * gradient
    rate = rate / (1.0 + (step - 1) * lr_decay)
    return theta - rate * gradient / (np.sqrt(total) + epsilon), (total,)


def rmsprop_update(
    theta: Array, gradient: Array, state: State, rate: float, step: int, options: Options
) -> tuple[Array, State]:
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


def adam_update(
    theta: Array, gradient: Array, state: State, rate: float, step: int, options: Options
) -> tuple[Array, State]:
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
