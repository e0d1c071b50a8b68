"""The fitted curve on new rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.readers import open_table
from sgdfit.language.evaluation import evaluate
from sgdfit.language.formula import as_formula
from sgdfit.results.result import Result

__all__ = ["predict"]


def predict(result: Result, data: Any) -> NDArray[np.float64]:
    """Return the right side of the formula at the estimates, one value a row of ``data``.

    Parameters
    ----------
    result : Result
        Of a fit; where the formula's left side is an expression, as in ``log(y) = …``, that
        expression is what is predicted.
    data : dict of arrays, data frame, file, …
        See `sgdfit.fit`; it holds the formula's variables.

    Raises
    ------
    DataError
        When a variable is missing or cannot be read.

    Examples
    --------
    >>> import sgdfit
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2, 4, 6]}, learning_rate=0.1)
    >>> fit.predict({"x": [10]}).round(6)
    array([20.])
    """
    formula = as_formula(result.formula)
    variables = [name for name in formula.names if name not in result.estimates]
    table = open_table(data)
    # A formula without variables still has a value in each row.
    source = table.load(variables or table.names[:1])
    columns = {name: source.columns[name].astype(np.float64, copy=False) for name in variables}
    predicted = evaluate(formula.expression, columns | result.values)
    return np.broadcast_to(np.asarray(predicted, dtype=np.float64), source.rows).copy()
