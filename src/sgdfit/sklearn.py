"""`FormulaRegressor`: a formula as an estimator of scikit-learn, which nothing else here needs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgdfit.errors import FormulaError, UsageError, listed, require
from sgdfit.fitting.entry import fit as fit_formula
from sgdfit.formula.formula import Formula
from sgdfit.formula.functions import CONSTANTS, FUNCTIONS
from sgdfit.formula.reading import as_formula
from sgdfit.model.loss import Loss
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.online.fit import Fit
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.schedule import AnySchedule
from sgdfit.result.result import Result

require("sklearn", "sgdfit.sklearn", "scikit-learn")
from sklearn.base import BaseEstimator, RegressorMixin  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.utils import validation  # noqa: E402

Array = NDArray[np.float64]

# Options of both `sgdfit.fit` and `sgdfit.Fit`, and those of the former alone.
_SHARED = ("start", "bounds", "fixed", "tied", "loss", "seed")
_DESCENT = ("optimizer", "learning_rate", "schedule", "batch_size", "steps", "epochs")


class FormulaRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Regression by a formula of the columns of X, in pipelines and searches of scikit-learn.

    Parameters
    ----------
    formula : str, callable or Formula, optional
        ``"a*exp(-b*x0)"``, with or without a left side, which names y. Columns go by the names
        that a data frame has for them, else by ``x0``, ``x1``, …; every other name is a parameter.
        Without a formula it is a straight line, ``intercept + slope*x2``, over the column that y
        correlates with best, in the first rows for `partial_fit`.
    start, bounds, fixed, tied, loss, seed, optimizer, learning_rate, schedule, batch_size, steps, \
epochs
        As in `sgdfit.fit`.
    forgetting : float or str, optional
        How `partial_fit` forgets rows, as in `sgdfit.Fit`.

    Attributes
    ----------
    result_ : sgdfit.Result
        Estimates, standard errors and how the fit went; ``print`` it for the report.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Only where X had names.
    n_iter_ : int
        Steps of the fit, or updates by `partial_fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> X = np.linspace(0, 2, 20)[:, None]
    >>> y = 3 * np.exp(-X[:, 0])
    >>> model = FormulaRegressor("y = a*exp(-b*x0)").fit(X, y)
    >>> model.result_.values["a"].__round__(6), model.predict([[0.0]]).round(6)
    (3.0, array([3.]))
    >>> cross_val_score(model, X, y, cv=3).round(6)
    array([1., 1., 1.])
    >>> for some in (slice(0, 10), slice(10, 20)):
    ...     model.partial_fit(X[some], y[some])
    FormulaRegressor(formula='y = a*exp(-b*x0)')
    FormulaRegressor(formula='y = a*exp(-b*x0)')
    >>> model.n_iter_, round(model.result_.values["b"], 6)
    (2, 1.0)
    """

    def __init__(
        self,
        formula: str | Callable[..., Any] | Formula | None = None,
        *,
        start: Assignments = None,
        bounds: Bounds = None,
        fixed: Assignments = None,
        tied: Assignments = None,
        loss: str | Callable[..., Any] | Loss = "mse",
        seed: int = 0,
        optimizer: str | Optimizer | None = None,
        learning_rate: float | AnySchedule | None = None,
        schedule: str | AnySchedule | None = None,
        batch_size: int | str | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        forgetting: float | str | None = None,
    ) -> None:
        given = dict(locals())
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FormulaRegressor:
        """Estimate the parameters from rows X, shape (n, k), with responses y, shape (n,).

        ``sample_weight``, shape (n,), counts a row of weight 2 like two rows. A
        `sklearn.exceptions.ConvergenceWarning` says why a fit ended before its optimum.

        Raises
        ------
        ValueError
            When X, y, the formula or an option cannot be used, or the descent diverged.
        """
        # From one row nobody can tell a curve.
        data, formula = self._taken(X, y, sample_weight, reset=True, ensure_min_samples=2)
        options = {name: getattr(self, name) for name in (*_SHARED, *_DESCENT)}
        weights = None if sample_weight is None else [*data][-1]
        self._keep(fit_formula(formula, data, weights=weights, **options))
        self.n_iter_ = self.result_.steps
        self.__dict__.pop("online_", None)
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FormulaRegressor:
        """Take in further rows, as `sgdfit.Fit` does; the first call begins a new fit.

        A call after `fit` begins anew too. While the rows do not determine the parameters there is
        no ``result_``, and `predict` says that this is not fitted.

        Raises
        ------
        ValueError
            As `fit`, and where an option of descents is set.
        """
        if given := [name for name in _DESCENT if getattr(self, name) is not None]:
            raise UsageError(f"{listed(given)}: only for fit; partial_fit has no descent")
        begins = not hasattr(self, "online_")
        data, formula = self._taken(X, y, sample_weight, reset=begins)
        if begins:
            self.__dict__.pop("result_", None)
            options = {name: getattr(self, name) for name in _SHARED}
            self.online_ = Fit(formula, weights=[*data][-1], forgetting=self.forgetting, **options)
            self.n_iter_ = 0
        if self.online_.update(data).estimates:
            self._keep(self.online_.result())
        self.n_iter_ += 1
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return the curve at rows X, shape (n, k), as float64[n], in units of y."""
        validation.check_is_fitted(self)
        X = validation.validate_data(self, X, dtype=np.float64, reset=False)
        return self.result_.predict(dict(zip(self._names(), np.asarray(X).T, strict=True)))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "result_")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A function that is called is pickled with the estimator, not with its result.
        if self.__sklearn_is_fitted__() and self.result_.function is not None:
            formula = as_formula(self.formula, self.result_.formula.partition(" = ")[0])
            object.__setattr__(self.result_, "callable", formula)

    def _keep(self, result: Result) -> None:
        status = result.status
        said = f"{status.label}: {status.cause}" + (f"; {status.cure}" if status.cure else "")
        if not status.ok:
            raise UsageError(said)
        if status.name != "converged":
            warnings.warn(said, ConvergenceWarning, stacklevel=3)
        self.result_ = result

    def _names(self) -> list[str]:
        named = getattr(self, "feature_names_in_", None)
        return [f"x{k}" for k in range(self.n_features_in_)] if named is None else list(named)

    def _taken(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, **checks: Any
    ) -> tuple[dict[str, Array], Formula]:
        """Return the columns, then y and weights, and the formula, which says what y is called."""
        checks |= {"dtype": np.float64, "y_numeric": True, "reset": reset}
        X, y = validation.validate_data(self, X, y, **checks)
        sample_weight = validation._check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        names = self._names()
        data = dict(zip(names, X.T, strict=True))
        formula = as_formula(self.formula or _line(names, X, y, sample_weight))
        if formula.response is None:
            formula = as_formula(formula, _fresh("y", [*names, *formula.names]))
        absent = [n for n in formula.names if re.fullmatch(r"x\d+", n) and n not in names]
        if absent and not hasattr(self, "feature_names_in_"):
            raise FormulaError(f"{listed(absent)}: X has the columns {listed(names)} alone")
        response = str(formula.response)
        if response not in formula.response_names or response in names:
            raise FormulaError(
                f"the left side of '{formula}' is not y alone; name it as no column of X is named,"
                " and fit a function of y by sklearn.compose.TransformedTargetRegressor"
            )
        data[response] = y.astype(np.float64, copy=False)
        data[_fresh("weight", [*data, *formula.names])] = sample_weight
        return data, formula


def _fresh(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _line(names: Sequence[str], X: Array, y: Array, weights: Array) -> str:
    """Return a line over the column that has the largest (weighted) correlation with y."""
    size = np.abs(X).max(axis=0)
    X, y = (values - np.average(values, 0, weights) for values in (X, y))
    scale = np.sqrt(weights @ X**2)
    # A constant column has none but by rounding.
    varies = scale > 1e-12 * np.sqrt(weights.sum()) * size
    correlation = np.abs((weights * y) @ X) / np.where(varies, scale, np.inf)
    best = names[int(np.argmax(correlation))]
    plain = best.isidentifier() and best not in {*CONSTANTS, *FUNCTIONS}
    column = best if plain else f"{{{best}}}"
    return f"{_fresh('intercept', names)} + {_fresh('slope', names)}*{column}"
