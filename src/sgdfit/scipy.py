"""`curve_fit`: what `scipy.optimize.curve_fit` does, by sgdfit's descent where it can."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgdfit.fitting.entry import fit
from sgdfit.fitting.sampling import FEW
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula, symbol
from sgdfit.formula.functions import ALIASES, CONSTANTS, FUNCTIONS
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
    formula; any other is called. Robust losses, and what cannot be, are handed to SciPy itself.

    Parameters
    ----------
    f, xdata, ydata, p0, sigma, absolute_sigma, check_finite, bounds, method, jac, full_output, \
nan_policy, **options
        As in SciPy. Without ``p0``, starts of a formula are found from the data. ``maxfev`` and
        ``max_nfev`` limit steps; options that tune SciPy's algorithms have no effect.

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
    It differs from SciPy's function in that, on purpose,

    - without ``p0`` a formula's best minimum is looked for, where SciPy takes that next to ones;
    - the optimum is reached as far as rounding allows (of many rows, to a thousandth of a standard
      error), so the last digits differ: by 2e-6 in the pcov that SciPy's test states;
    - a formula is differentiated exactly, and of a function that is called the way to slopes is
      chosen by their errors, whatever scheme ``jac`` names; a function ``jac`` is used there;
    - where the data leave a parameter open, pcov is inf for every method, as for ``"lm"``, not a
      pseudoinverse; of data without scatter it is that of rounding, not 0;
    - a best curve that no finite values reach is a RuntimeError, not a point on the way to it;
    - f is called once with symbols, to tell what it is; where it raises on the way from the start,
      there is no step.

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
    given = (p0, sigma, bounds, nan_policy == "omit")
    problem = _problem(f, xdata, ydata, *given, jac) if plain else None
    if problem is None or (method == "lm" and np.isfinite([problem.low, problem.high]).any()):
        options |= {"sigma": sigma, "absolute_sigma": absolute_sigma, "check_finite": check_finite}
        options |= {"full_output": full_output, "nan_policy": nan_policy, "method": method}
        return optimize.curve_fit(f, xdata, ydata, p0, bounds=bounds, jac=jac, **options)
    limit = next((options[name] for name in LIMITS if options.get(name)), None)
    popt, result = _minimized(problem, p0 is not None, absolute_sigma, limit)
    bound = any(estimate.at_bound for estimate in result.estimates.values())
    freedom = np.inf if absolute_sigma else problem.data[RESPONSE].size - len(popt)
    known = len(result.free) == len(popt) and not result.undetermined and freedom > 0
    pcov = np.full((len(popt), len(popt)), np.inf)
    if known and not bound and result.covariance is not None:
        order = [result.free.index(name) for name in problem.names]
        pcov = result.covariance[np.ix_(order, order)]
    more: tuple[Any, ...] = ()
    if full_output or (known and bound):
        # SciPy's own from there: it takes what is on a bound for free.
        options = {"sigma": sigma, "absolute_sigma": absolute_sigma, "nan_policy": nan_policy}
        options |= {"bounds": bounds, "method": method, "jac": jac, "full_output": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            _, theirs, *more = optimize.curve_fit(f, xdata, ydata, popt, **options)
        pcov = theirs if known and bound else pcov
    if np.isinf(pcov).any():
        said = "Covariance of the parameters could not be estimated"
        warnings.warn(said, optimize.OptimizeWarning, stacklevel=2)
    return (popt, pcov, *more) if full_output else (popt, pcov)


class _Problem(NamedTuple):
    """What is to be fitted."""

    formula: Formula | Callable[..., Any]
    data: dict[str, Array]
    names: tuple[str, ...]  # of all parameters
    start: Array
    low: Array
    high: Array
    sigma: Array  # a number, one for each row, or the covariance of rows
    jacobian: Callable[..., Any] | None  # of a function that is called


def _problem(
    f: Callable[..., Any],
    xdata: Any,
    ydata: Any,
    p0: Any,
    sigma: Any,
    bounds: Any,
    omit: bool,
    jac: Any,
) -> _Problem | None:
    """Return what is to be fitted; None where it is not as it should be, which SciPy says best."""
    try:
        names = _names(f, p0)
        array = isinstance(xdata, list | tuple | np.ndarray)
        x = np.asarray(xdata, dtype=float) if array else xdata
        y = np.asarray(ydata, dtype=float)
        spread = np.ones(()) if sigma is None else np.asarray(sigma, dtype=float)
        spread = spread.reshape(()) if spread.size == 1 else spread
        if omit:
            lost = np.isnan(y) | np.isnan(x).any(axis=tuple(range(np.ndim(x) - 1)))
            keep = np.flatnonzero(~lost)
            x, y = x[..., keep], y[keep]
            spread = spread[np.ix_(*[keep] * spread.ndim)] if spread.ndim else spread
        low, high = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
        low, high = (np.broadcast_to(np.asarray(b, dtype=float), len(names)) for b in (low, high))
        start = _feasible(low, high) if p0 is None else np.atleast_1d(np.asarray(p0, dtype=float))
        curve = lru_cache(maxsize=1)(lambda *theta: np.asarray(f(x, *theta)))
        slopes = lru_cache(maxsize=1)(lambda *theta: np.asarray(jac(x, *theta)))
        with np.errstate(all="ignore"):
            found = curve(*start.tolist())
        y = np.resize(y, found.shape) if y.size == 1 else y
        joint = spread.ndim > 1 and len(spread) <= FEW and np.allclose(spread, spread.T)
        variances = np.linalg.eigvalsh(spread) if joint else spread
        usual = (
            0 < len(names) <= y.size and y.ndim == 1 and found.shape in ((), y.shape)
            and np.isfinite(y).all() and (not array or np.isfinite(x).all())
            and np.all(low < high) and np.all((low <= start) & (start <= high))
            and spread.shape in ((), y.shape, y.shape * (1 + joint))
            and np.isfinite(spread).all() and np.all(variances > 0)
            and (not callable(jac) or slopes(*start.tolist()).shape == (y.size, len(names)))
        )  # fmt: skip
        if not usual:
            return None
    except (TypeError, ValueError, LookupError):
        return None
    jacobian, traced = None, _traced(f, x, y, names, start, found)
    if traced is None and callable(jac):
        jacobian = _of_rows(slopes, y, names)
    rows = {VARIABLE: np.arange(y.size, dtype=float), RESPONSE: y}
    formula, data = traced or (_of_rows(curve, y, names), rows)
    return _Problem(formula, data, names, start, low, high, spread, jacobian)


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


def _traced(
    f: Callable[..., Any], x: Any, y: Array, names: tuple[str, ...], start: Array, found: Array
) -> tuple[Formula, dict[str, Array]] | None:
    """Return f as a formula of the columns of x, if it is one whose values at the start agree.

    What tells rows apart by their place, or draws at random, is no formula of one row.
    """
    try:
        columns = np.atleast_2d(np.asarray(x, dtype=float))
        if columns.shape[1:] != y.shape:
            return None
        data = {f"{VARIABLE}{k}": column for k, column in enumerate(columns)}

        def by_column(*values: Any) -> Any:
            taken = np.empty(len(data), dtype=object)
            taken[:] = values[: len(data)]
            return f(taken if np.ndim(x) > 1 else taken[0], *values[len(data) :])

        symbols = {name: symbol(name) for name in (*data, *names)}
        expression = trace_call(_with_arguments(by_column, symbols), symbols)
        again = evaluate(expression, data | dict(zip(names, start.tolist(), strict=True)))
    except (TypeError, ValueError):
        return None
    if not np.allclose(again, found, rtol=1e-9, atol=0, equal_nan=True):
        return None
    present = {s.name for s in expression.free_symbols}
    formula = Formula(expression, names=tuple(name for name in symbols if name in present))
    return formula, data | {RESPONSE: y}


def _of_rows(values: Callable[..., Array], y: Array, names: Sequence[str]) -> Callable[..., Any]:
    """Return a function of the numbers of rows, since f may join rows in any way."""

    def by_row(row: Any, *theta: Any) -> Any:
        found = values(*theta)
        found = found if found.ndim else np.broadcast_to(found, y.shape)
        return found[np.asarray(row, dtype=np.intp)]

    return _with_arguments(by_row, (VARIABLE, *names))


def _with_arguments(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _minimized(
    problem: _Problem, started: bool, absolute: bool, limit: int | None
) -> tuple[Array, Result]:
    """Return where the sum of squares is least, and how it was found."""
    # A formula may not depend on all parameters; a function has no roles to look for starts by.
    traced = problem.formula if isinstance(problem.formula, Formula) else None
    used = traced.names if traced else problem.names
    known = dict(zip(problem.names, problem.start.tolist(), strict=True))
    ends = zip(problem.names, problem.low.tolist(), problem.high.tolist(), strict=True)
    told: dict[str, Any] = {"bounds": {name: (a, b) for name, a, b in ends if name in used}}
    if started or not traced:
        told["start"] = {name: value for name, value in known.items() if name in used}
    told |= {"sigma": problem.sigma, "absolute_sigma": absolute, "steps": limit}
    told |= {"response": RESPONSE, "jacobian": problem.jacobian}
    result = fit(problem.formula, problem.data, constant=True, **told)
    status = result.status
    if status.name not in ("converged", "local_minimum"):
        raise RuntimeError(f"Optimal parameters not found: {status.cause}; {status.cure}")
    return np.array([*(known | result.values).values()]), result
