"""The solvers that the NIST sets judge: sgdfit, and others where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import sgdfit
from nist_files import StandardSet
from nist_scores import equations

__all__ = ["PEERS", "SGDFIT", "Answer", "Solver", "is_installed"]

Start = Mapping[str, float] | None


class Answer(NamedTuple):
    """What a solver says of a set.

    Attributes
    ----------
    values : dict of str to float
        Each parameter.
    errors : dict of str to float or None, or None
        Each standard error; None where the solver gives none.
    success : bool
        Whether it claims to have found the answer.
    status : str
        The solver's word for how it ended.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float | None] | None
    success: bool
    status: str


class Solver(NamedTuple):
    """A name, the packages that it needs, and what makes a fit of a set ready to run."""

    name: str
    needs: tuple[str, ...]
    prepare: Callable[[StandardSet], Callable[[Start], Answer]]


def is_installed(solver: Solver) -> bool:
    """Return whether all that the solver needs can be imported."""
    return all(importlib.util.find_spec(package) is not None for package in solver.needs)


def _sgdfit(standard: StandardSet) -> Callable[[Start], Answer]:
    def fit(start: Start) -> Answer:
        given = {} if start is None else {"start": start}
        result = sgdfit.fit(standard.formula, standard.data, **given)
        return Answer(
            result.values,
            {name: estimate.stderr for name, estimate in result.estimates.items()},
            result.status.name == "converged",
            result.status.name,
        )

    return fit


def _ones(standard: StandardSet, start: Start) -> list[float]:
    """Return the start, or ones where there is none, which is what scipy does."""
    return [1.0 if start is None else start[name] for name in standard.parameters]


def _curve_fit(method: str) -> Callable[[StandardSet], Callable[[Start], Answer]]:
    def prepare(standard: StandardSet) -> Callable[[Start], Answer]:
        from scipy.optimize import curve_fit

        model = equations(standard)
        names, columns = standard.parameters, np.array(model.columns)

        def fit(start: Start) -> Answer:
            theta, covariance = curve_fit(
                lambda columns, *theta: model.function(*columns, *theta),
                columns,
                model.response,
                _ones(standard, start),
                method=method,
            )
            errors = np.sqrt(np.diag(covariance))
            return Answer(_by_name(names, theta), _by_name(names, errors), True, "success")

        return fit

    return prepare


def _least_squares(standard: StandardSet) -> Callable[[Start], Answer]:
    from scipy.optimize import least_squares

    model = equations(standard)
    tight = {"x_scale": "jac", "ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 5000}

    def residuals(theta: Any) -> Any:
        return model.predict(theta) - model.response

    def jacobian(theta: Any) -> Any:
        """Return the derivatives by a complex step, which has no rounding of differences."""
        steps = theta + 1e-30j * np.eye(len(theta))
        return np.stack([model.predict(step).imag for step in steps], axis=1) / 1e-30

    def fit(start: Start) -> Answer:
        first = np.array(_ones(standard, start))
        found = least_squares(residuals, first, jacobian, **tight)
        left = standard.observations - len(standard.parameters)
        variance = 2 * found.cost / left
        inverse = np.linalg.pinv(np.linalg.qr(found.jac, "r"))
        errors = np.sqrt(variance * np.sum(inverse**2, axis=1))
        names = standard.parameters
        status = "success" if found.success else "failure"
        return Answer(_by_name(names, found.x), _by_name(names, errors), found.success, status)

    return fit


def _by_name(names: tuple[str, ...], numbers: Any) -> dict[str, float]:
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}


def _lmfit(standard: StandardSet) -> Callable[[Start], Answer]:
    import lmfit

    equation = equations(standard)
    model = lmfit.Model(equation.function, independent_vars=list(equation.variables))
    columns = dict(zip(equation.variables, equation.columns, strict=True))

    def fit(start: Start) -> Answer:
        given = dict(zip(standard.parameters, _ones(standard, start), strict=True))
        found = model.fit(equation.response, **columns, **given)
        errors = {name: found.params[name].stderr for name in standard.parameters}
        status = "success" if found.success else "failure"
        return Answer(dict(found.best_values), errors, bool(found.success), status)

    return fit


def _optimistix(standard: StandardSet) -> Callable[[Start], Answer]:
    import jax
    import optimistix

    jax.config.update("jax_enable_x64", True)
    equation = equations(standard, "jax")
    method = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)

    def residuals(theta: Any, _: Any) -> Any:
        return equation.function(*equation.columns, *theta) - equation.response

    @jax.jit
    def solve(theta: Any) -> Any:
        found = optimistix.least_squares(residuals, method, theta, max_steps=10_000, throw=False)
        return found.value, found.result == optimistix.RESULTS.successful

    def fit(start: Start) -> Answer:
        theta, success = solve(np.array(_ones(standard, start)))
        values = _by_name(standard.parameters, np.asarray(theta))
        return Answer(values, None, bool(success), "success" if success else "failure")

    return fit


SGDFIT = Solver("sgdfit", (), _sgdfit)
PEERS = (
    Solver("curve_fit lm", ("scipy",), _curve_fit("lm")),
    Solver("curve_fit trf", ("scipy",), _curve_fit("trf")),
    # What SciPy can do when it is told how: exact derivatives, scaling, no early stop.
    Solver("least_squares*", ("scipy",), _least_squares),
    Solver("lmfit", ("lmfit",), _lmfit),
    # Its tolerances have no default; these are the ones that reach every certified answer.
    Solver("optimistix LM", ("optimistix", "jax"), _optimistix),
)
