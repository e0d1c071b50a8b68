"""`curve_fit`: what `scipy.optimize.curve_fit` does, by sgdfit's descent where it can."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgdfit.fitting.entry import fit
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula, derivative, symbol
from sgdfit.formula.functions import ALIASES, CONSTANTS, FUNCTIONS
from sgdfit.formula.limits import evaluate_slope
from sgdfit.formula.reading import trace_call
from sgdfit.result.result import Result

Array = NDArray[np.float64]

METHODS, SCHEMES = (None, "lm", "trf", "dogbox"), (None, "2-point", "3-point", "cs")
LIMITS = ("max_nfev", "maxfev")
# Options of SciPy's algorithms that leave what is minimized as it is.
TUNING = ("ftol", "xtol", "gtol", "epsfcn", "factor", "diag", "x_scale", "diff_step")
VARIABLE, RESPONSE = "xdata", "ydata"
RESERVED = {*ALIASES, *CONSTANTS, *FUNCTIONS, "prediction", "target", "e", RESPONSE}


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = (-np.inf, np.inf),
    method: str | None = None,
    jac: str | Callable[..., Any] | None = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    **options: Any,
) -> Any:
    """Fit a function to data, called and answering as `scipy.optimize.curve_fit`.

    A function of arithmetic and NumPy's functions, in which each row stands alone, is fitted as a
    formula. All else is handed to SciPy, which fits it, robust losses among it, or says why not.

    Parameters
    ----------
    f, xdata, ydata, p0, sigma, absolute_sigma, check_finite, bounds, method, jac, full_output, \
nan_policy, **options
        As in SciPy. Without ``p0``, starts are found from the formula and the data. ``maxfev`` and
        ``max_nfev`` limit steps; options that tune SciPy's algorithms have no effect on formulas.

    Returns
    -------
    popt, pcov : float64[n], float64[n, n]
        pcov is inf, with a `scipy.optimize.OptimizeWarning`, where it cannot be estimated.
    infodict, mesg, ier
        With ``full_output`` alone; ``nfev`` counts steps.

    Raises
    ------
    ValueError, TypeError
        When an argument cannot be used.
    RuntimeError
        When no optimum was found; the sentence says why and what to do.

    Notes
    -----
    Formulas are fitted on purpose unlike by SciPy in that

    - without ``p0`` the best minimum is looked for, where SciPy takes that next to ones;
    - the optimum is reached as far as rounding allows, by exact derivatives instead of ``jac``, so
      the last digits differ: by 2e-6 in the pcov that SciPy's own test states;
    - where the data leave a parameter open, pcov is inf for every method, as for ``"lm"``, not a
      pseudoinverse; of data without scatter it is that of rounding, not 0;
    - a best curve that no finite values reach is a RuntimeError, not a point on the way to it;
    - f is called once with symbols, to tell what it is.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 4, 50)
    >>> y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.01 * np.cos(9 * x)
    >>> popt, pcov = curve_fit(lambda x, a, b, c: a * np.exp(-b * x) + c, x, y)
    >>> popt.round(2), np.sqrt(np.diag(pcov)).round(3)
    (array([2.5, 1.3, 0.5]), array([0.004, 0.005, 0.002]))
    """
    from scipy import optimize

    plain = options.keys() <= {*LIMITS, *TUNING} and nan_policy in (None, "raise", "omit")
    plain = plain and method in METHODS and (callable(jac) or jac in SCHEMES)
    f = _remembered(f)
    omit = nan_policy == "omit"
    problem = _traced(f, xdata, ydata, p0, sigma, bounds, omit) if plain else None
    bounded = problem is not None and bool(np.isfinite([problem.low, problem.high]).any())
    if problem is None or (method == "lm" and bounded):
        options |= {"sigma": sigma, "absolute_sigma": absolute_sigma, "check_finite": check_finite}
        options |= {"full_output": full_output, "nan_policy": nan_policy, "method": method}
        return optimize.curve_fit(f, xdata, ydata, p0, bounds=bounds, jac=jac, **options)
    limit = next((options[name] for name in LIMITS if options.get(name)), None)
    popt, result = _minimized(problem, p0 is not None, absolute_sigma, limit)
    pcov = _covariance(problem, popt, result, absolute_sigma)
    if pcov is None:
        pcov = np.full((len(popt), len(popt)), np.inf)
        said = "Covariance of the parameters could not be estimated"
        warnings.warn(said, optimize.OptimizeWarning, stacklevel=2)
    if not full_output:
        return popt, pcov
    residuals = problem.residuals(popt)
    known = {"nfev": result.steps, "fvec": residuals}
    if method == "lm" or not (method or bounded):
        known |= _factored(problem.jacobian(popt), residuals)
    return popt, pcov, known, result.status.cause, 1


class _Problem(NamedTuple):
    """What is to be fitted."""

    formula: Formula
    columns: dict[str, Array]
    names: tuple[str, ...]  # of all parameters
    start: Array
    low: Array
    high: Array
    y: Array
    sigma: Array  # a number, one for each row, or their covariance matrix

    def residuals(self, theta: Array) -> Array:
        """Return them in units of sigma, float64[M]."""
        return self._whitened(evaluate(self.formula.expression, self._at(theta)) - self.y)

    def jacobian(self, theta: Array) -> Array:
        """Return their derivatives, float64[M, n]."""
        expression, values = self.formula.expression, self._at(theta)
        slopes = [
            evaluate_slope(expression, derivative(expression, name), name, values)
            for name in self.names
        ]
        return self._whitened(np.stack(np.broadcast_arrays(*slopes, self.y)[:-1], axis=1))

    def _at(self, theta: Array) -> dict[str, Any]:
        return self.columns | dict(zip(self.names, theta, strict=True))

    def _whitened(self, values: Array) -> Array:
        from scipy.linalg import cholesky, solve_triangular

        if self.sigma.ndim < 2:
            return np.asarray((values.T / self.sigma).T)
        root = cholesky(self.sigma, lower=True)
        return np.asarray(solve_triangular(root, values, lower=True))


def _remembered(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return f, which is not called again with what it was called with last."""
    last: list[Any] = []

    @wraps(f)
    def call(x: Any, *theta: Any) -> Any:
        if not last or last[0] is not x or last[1] != theta:
            last[:] = x, theta, f(x, *theta)
        return last[2]

    return call


def _traced(
    f: Callable[..., Any], xdata: Any, ydata: Any, p0: Any, sigma: Any, bounds: Any, omit: bool
) -> _Problem | None:
    """Return the problem if f is a formula of xdata's columns, and all else is as it should be."""
    try:
        names = _names(f, p0)
        x = (
            np.asarray(xdata, dtype=float)
            if isinstance(xdata, list | tuple | np.ndarray)
            else xdata
        )
        y, columns = np.asarray(ydata, dtype=float), np.atleast_2d(np.asarray(x, dtype=float))
        spread = np.ones(()) if sigma is None else np.asarray(sigma, dtype=float)
        spread = spread.reshape(()) if spread.size == 1 else spread
        if columns.shape[1:] != y.shape or spread.shape not in ((), y.shape, y.shape * 2):
            return None
        if omit:
            keep = np.flatnonzero(~(np.isnan(columns).any(axis=0) | np.isnan(y)))
            x, columns, y = x[..., keep], columns[:, keep], y[keep]
            spread = spread[np.ix_(*[keep] * spread.ndim)] if spread.ndim else spread
        low, high = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
        low, high = (np.broadcast_to(np.asarray(b, dtype=float), len(names)) for b in (low, high))
        start = _feasible(low, high) if p0 is None else np.atleast_1d(np.asarray(p0, dtype=float))
        variances = np.linalg.eigvalsh(spread) if spread.ndim > 1 else spread
        usual = (
            0 < len(names) <= y.size and np.isfinite(columns).all() and np.isfinite(y).all()
            and np.all(low < high) and np.all((low <= start) & (start <= high))
            and np.isfinite(spread).all() and np.all(variances > 0)
        )  # fmt: skip
        if not usual:
            return None
        data = {f"{VARIABLE}{k}": column for k, column in enumerate(columns)}
        with np.errstate(all="ignore"):
            expected = f(x, *start)
        formula = _formula(inspect.unwrap(f), np.ndim(x) == 1, tuple(data), names)
        found = evaluate(formula.expression, data | dict(zip(names, start, strict=True)))
    except (TypeError, ValueError):
        return None
    # What tells its rows apart by their place, or draws at random, is no formula of one row.
    if not np.allclose(found, expected, rtol=1e-9, atol=0, equal_nan=True):
        return None
    return _Problem(formula, data, names, start, low, high, y, spread)


def _names(f: Callable[..., Any], p0: Any) -> tuple[str, ...]:
    """Return what the parameters are called: the arguments of f, if it names as many."""
    arguments = list(inspect.signature(f).parameters.values())[1:]
    names = [p.name for p in arguments if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if p0 is not None and np.size(p0) != len(names):
        names = [f"p{k}" for k in range(np.size(p0))]
    return tuple(f"{n}_" if n in RESERVED or n.startswith(VARIABLE) else n for n in names)


def _feasible(low: Array, high: Array) -> Array:
    """Return where SciPy starts without p0: at ones, between two bounds, or next to one."""
    below, above = np.isfinite(low), np.isfinite(high)
    with np.errstate(invalid="ignore"):
        places = [low / 2 + high / 2, low + 1, high - 1]
    return np.select([below & above, below, above], places, 1.0)


def _formula(
    f: Callable[..., Any], single: bool, variables: tuple[str, ...], names: tuple[str, ...]
) -> Formula:
    """Trace f, which takes a ``single`` column or several as an array."""
    everything = (*variables, *names)

    def by_column(*values: Any) -> Any:
        x = np.empty(len(variables), dtype=object)
        x[:] = values[: len(x)]
        return f(x[0] if single else x, *values[len(x) :])

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in everything])
    by_column.__signature__ = signature  # type: ignore[attr-defined]
    expression = trace_call(by_column, {name: symbol(name) for name in everything})
    present = {s.name for s in expression.free_symbols}
    return Formula(expression, names=tuple(name for name in everything if name in present))


def _minimized(
    problem: _Problem, started: bool, absolute: bool, limit: int | None
) -> tuple[Array, Result]:
    """Return where the sum of squares is least, and how it was found."""
    from scipy.optimize import least_squares

    used = problem.formula.names  # it may not depend on all parameters
    known = dict(zip(problem.names, problem.start.tolist(), strict=True))
    ends = zip(problem.names, problem.low.tolist(), problem.high.tolist(), strict=True)
    told: dict[str, Any] = {"bounds": {name: (a, b) for name, a, b in ends if name in used}}
    if started:
        start = {name: value for name, value in known.items() if name in used}
        told |= {"start": start, "search": False}
    matrix = problem.sigma.ndim == 2
    told["sigma"] = np.sqrt(np.diag(problem.sigma)) if matrix else problem.sigma
    data = problem.columns | {RESPONSE: problem.y}
    told |= {"absolute_sigma": absolute, "response": RESPONSE, "constant": True, "steps": limit}
    result = fit(problem.formula, data, **told)
    status = result.status
    if status.name not in ("converged", "local_minimum"):
        raise RuntimeError(f"Optimal parameters not found: {status.cause}; {status.cure}")
    popt = np.array([*(known | result.values).values()])
    if matrix:
        # Rows that vary together no longer stand alone; from here it is not far.
        least, sides = np.finfo(float).eps, (problem.low, problem.high)
        tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), least)
        popt = least_squares(
            problem.residuals, popt, problem.jacobian, sides, x_scale="jac", **tolerances
        ).x
    return popt, result


def _covariance(problem: _Problem, popt: Array, result: Result, absolute: bool) -> Array | None:
    """Return the covariance of the estimates, also of those on bounds; None where not known."""
    freedom = np.inf if absolute else problem.y.size - len(popt)
    if result.undetermined or freedom <= 0 or len(result.free) < len(popt):
        return None
    found = result.covariance
    if found is not None and np.isfinite(found).all() and problem.sigma.ndim < 2:
        order = [result.free.index(name) for name in problem.names]
        return np.asarray(found[np.ix_(order, order)])
    # What is on a bound SciPy takes for free.
    inverse = np.linalg.pinv(problem.jacobian(popt))
    variance = 1.0 if absolute else np.sum(problem.residuals(popt) ** 2) / freedom
    return np.asarray(inverse @ inverse.T * variance)


def _factored(jacobian: Array, residuals: Array) -> dict[str, Array]:
    """Return the QR decomposition of the derivatives as MINPACK has it."""
    from scipy.linalg import qr

    q, r, order = qr(jacobian, mode="economic", pivoting=True)
    factor = np.zeros(jacobian.T.shape)
    factor[:, : len(r)] = r.T
    return {"fjac": factor, "ipvt": order + 1, "qtf": q.T @ residuals}
