"""Optimizers that divide each parameter's steps by the size of its gradients; as torch.optim."""

from __future__ import annotations

from sgdfit.optimizers.method import Optimizer, checked
from sgdfit.optimizers.updates import (
    adagrad_init,
    adagrad_update,
    adam_update,
    rmsprop_update,
    three_slots,
)

__all__ = ["adagrad", "adam", "adamw", "rmsprop"]


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
    return checked("adagrad", adagrad_init, adagrad_update, **locals())


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
    return checked("rmsprop", three_slots, rmsprop_update, **locals())


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
    return checked("adam", three_slots, adam_update, **locals(), decoupled=False)


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
    return checked("adamw", three_slots, adam_update, **locals(), decoupled=True)
