"""Columns far from zero: what rounding hides there, and the same formula about their middle."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgdfit.errors import FormulaError
from sgdfit.fitting.task import Task
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula
from sgdfit.formula.tokens import tokenize
from sgdfit.inference.directions import root_spectrum

__all__ = ["centred", "could_determine", "far_columns"]

# A column whose middle lies so many times its spread away from 0.
FAR = 100.0
ROWS_LOOKED_AT = 1_000
# Places in the space of the parameters at which the centred formula is looked at.
DRAWS = 8


def far_columns(task: Task) -> dict[str, float]:
    """Return the variables that lie far from zero for their spread, each with a round middle."""
    middles = {}
    for name in task.model.variables:
        column = task.population.sample(ROWS_LOOKED_AT, 0).columns[task.model.columns.index(name)]
        low, high = float(column.min()), float(column.max())
        if high > low and abs(low / 2 + high / 2) > FAR * (high - low) / 2:
            middles[name] = _round(low, high)
    return middles


def _round(low: float, high: float) -> float:
    """Return the number with the fewest digits near the middle of a range."""
    middle = low / 2 + high / 2
    digits = (float(f"{middle:.{k}g}") for k in range(1, 17))
    return next((d for d in digits if abs(d - middle) <= (high - low) / 2), middle)


def centred(formula: Formula, middles: dict[str, float]) -> str:
    """Return the text of ``formula`` with some variables written about their middle.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> centred(as_formula("y = a*exp(-b*x)"), {"x": 1e6})
    'y = a*exp(-b*(x - 1000000))'
    """
    text = str(formula)
    left, sign, right = text.rpartition("=")
    pieces, end = [left, sign], 0
    for token in tokenize(right):
        if token.kind in ("name", "quoted") and token.text in middles:
            middle = middles[token.text]
            operator = "-" if middle >= 0 else "+"
            width = len(token.text) + (2 if token.kind == "quoted" else 0)
            name = right[token.position : token.position + width]
            pieces += [right[end : token.position], f"({name} {operator} {abs(middle):.16g})"]
            end = token.position + width
    return "".join([*pieces, right[end:]])


def could_determine(task: Task) -> bool:
    """Whether the formula on centred, scaled columns determines every parameter somewhere.

    Then what the data leave open is no property of formula and data, but of rounding or of the
    place in the space of the parameters.
    """
    model = task.model
    some = task.population.sample(ROWS_LOOKED_AT, 0)
    columns: dict[str, Any] = dict(zip(model.columns, some.columns, strict=True))
    for name in model.variables:
        column = columns[name].astype(np.float64)
        apart = column - (column.min() / 2 + column.max() / 2)
        largest = float(np.abs(apart).max())
        columns[name] = apart / largest if largest > 0 else column
    random = np.random.default_rng(0)
    return any(
        _determines(task, columns, random.normal(size=len(model.free)), some.rows)
        for _ in range(DRAWS)
    )


def _determines(task: Task, columns: dict[str, Any], theta: np.ndarray, rows: int) -> bool:
    model = task.model
    values = columns | dict(zip(model.free, map(float, theta), strict=True))
    try:
        slopes = [np.broadcast_to(evaluate(slope, values), rows) for slope in model.gradient]
    except FormulaError:
        return False
    jacobian = np.array(slopes, dtype=np.float64).T
    return bool(np.isfinite(jacobian).all() and root_spectrum(jacobian).positive.all())
