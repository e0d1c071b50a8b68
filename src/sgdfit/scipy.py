"""`curve_fit`: what `scipy.optimize.curve_fit` does, by sgdfit's descent where it can."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
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
TIGHT = 1e-12
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
        With ``full_output`` alone: SciPy's own, started at the optimum.

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
    - f is called once at the start and once with symbols, to tell what it is.

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
    given = (p0, sigma, bounds, nan_policy)
    problem = _traced(f, xdata, ydata, *given) if plain else None
    if problem is None or (method == "lm" and np.isfinite([problem.low, problem.high]).any()):
        options |= {"sigma": sigma, "absolute_sigma": absolute_sigma, "check_finite": check_finite}
        options |= {"full_output": full_output, "nan_policy": nan_policy, "method": method}
        return optimize.curve_fit(f, xdata, ydata, p0, bounds=bounds, jac=jac, **options)
    limit = next((options[name] for name in LIMITS if options.get(name)), None)
    popt, result = _minimized(problem, p0 is not None, absolute_sigma, limit)
    matrix = problem.sigma.ndim == 2
    bound = any(estimate.at_bound for estimate in result.estimates.values())
    freedom = np.inf if absolute_sigma else problem.y.size - len(popt)
    pcov = np.full((len(popt), len(popt)), np.inf)
    known = len(result.free) == len(popt) and not result.undetermined and freedom > 0
    if known and not (matrix or bound) and result.covariance is not None:
        order = [result.free.index(name) for name in problem.names]
        pcov = result.covariance[np.ix_(order, order)]
    more: tuple[Any, ...] = ()
    if full_output or (known and (matrix or bound)):
        # SciPy's own from there: rows that vary together, what is on a bound taken for free.
        options = {"sigma": sigma, "absolute_sigma": absolute_sigma, "nan_policy": nan_policy}
        options |= dict.fromkeys(("ftol", "xtol", "gtol"), TIGHT) | {"full_output": True}
        options |= {"bounds": bounds, "method": method, "jac": problem.jacobian}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            near, theirs, *more = optimize.curve_fit(f, xdata, ydata, popt, **options)
        popt = near if matrix else popt
        pcov = theirs if known and (matrix or bound) else pcov
    if np.isinf(pcov).any():
        said = "Covariance of the parameters could not be estimated"
        warnings.warn(said, optimize.OptimizeWarning, stacklevel=2)
    return (popt, pcov, *more) if full_output else (popt, pcov)


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

    def jacobian(self, x: Any, *theta: float) -> Array:
        """Return the derivatives of the formula, float64[M, n]."""
        expression = self.formula.expression
        values = self.columns | dict(zip(self.names, theta, strict=True))
        slopes = [
            evaluate_slope(expression, derivative(expression, name), name, values)
            for name in self.names
        ]
        return np.stack(slopes, axis=1)


def _traced(
    f: Callable[..., Any], xdata: Any, ydata: Any, p0: Any, sigma: Any, bounds: Any, policy: Any
) -> _Problem | None:
    """Return the problem if f is a formula of xdata's columns, and all else is as it should be."""
    try:
        names = _names(f, p0)
        y, columns = np.asarray(ydata, dtype=float), np.atleast_2d(np.asarray(xdata, dtype=float))
        single = np.ndim(xdata) == 1
        spread = np.ones(()) if sigma is None else np.asarray(sigma, dtype=float)
        spread = spread.reshape(()) if spread.size == 1 else spread
        if columns.shape[1:] != y.shape or spread.shape not in ((), y.shape, y.shape * 2):
            return None
        if policy == "omit":
            keep = np.flatnonzero(~(np.isnan(columns).any(axis=0) | np.isnan(y)))
            columns, y = columns[:, keep], y[keep]
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
            expected = f(columns[0] if single else columns, *start)
        formula = _formula(f, single, tuple(data), names)
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
    return np.array([*(known | result.values).values()]), result
