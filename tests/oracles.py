"""Least squares by other means than sgdfit's: complex steps, QR, and scipy's MINPACK."""

from typing import NamedTuple

import numpy as np
import sympy
from scipy.optimize import least_squares

from sgdfit.formula.reading import as_formula

__all__ = ["Answer", "as_function", "jacobian", "least_squares_answer", "standard_errors"]


class Answer(NamedTuple):
    """The estimates and their standard errors, scaled by the residuals, both by name."""

    values: dict[str, float]
    errors: dict[str, float]
    residual_sum_of_squares: float


def as_function(formula, variables, parameters):
    """Return the right side as a function of the variables' columns, then the parameters."""
    symbols = [sympy.Symbol(name, real=True) for name in (*variables, *parameters)]
    return sympy.lambdify(symbols, as_formula(formula).expression, modules="numpy", cse=True)


def jacobian(predict, theta):
    """Differentiate by complex steps, which are exact to rounding."""
    columns = []
    for i in range(len(theta)):
        moved = np.array(theta, dtype=complex)
        step = 1e-20 * (abs(theta[i]) or 1.0)
        moved[i] += 1j * step
        columns.append(np.imag(predict(moved)) / step)
    return np.array(columns).T


def standard_errors(J, residual_standard_deviation):
    """Return the square roots of the diagonal of s² (JᵀJ)⁻¹ without squaring J."""
    scale = np.linalg.norm(J, axis=0)
    inverse = np.linalg.inv(np.linalg.qr(J / scale, mode="r"))
    return residual_standard_deviation * np.linalg.norm(inverse, axis=1) / scale


def least_squares_answer(formula, data, start):
    """Return MINPACK's answer from ``start``, which should be near; the response is ``y``."""
    variables = [name for name in data if name != "y"]
    function = as_function(formula, variables, start)
    rows = len(data["y"])

    def predict(theta):
        # A curve that does not depend on one parameter at a time is still a column.
        return np.broadcast_to(function(*(data[name] for name in variables), *theta), (rows,))

    found = least_squares(
        lambda theta: predict(theta) - data["y"],
        list(start.values()),
        jac=lambda theta: jacobian(predict, theta),
        method="lm",
        x_scale="jac",
        **dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15),
    )
    total = float(np.sum((predict(found.x) - data["y"]) ** 2))
    deviation = np.sqrt(total / (rows - len(start)))
    errors = standard_errors(jacobian(predict, found.x), deviation)
    return Answer(
        dict(zip(start, found.x.tolist(), strict=True)),
        dict(zip(start, errors.tolist(), strict=True)),
        total,
    )
