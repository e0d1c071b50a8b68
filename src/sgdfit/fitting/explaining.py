"""`explain`: the gradient of a formula derived in front of you, and checked on your data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sgdfit.data.readers import open_table
from sgdfit.derivation.derivation import Derivation, derive
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.task import prepare
from sgdfit.fitting.weighting import Weighting
from sgdfit.formula.formula import Formula, as_formula
from sgdfit.model.loss import Loss
from sgdfit.model.model import build
from sgdfit.model.parameters import Assignments, Bounds

__all__ = ["explain"]


def explain(
    formula: str | Callable[..., Any] | Formula,
    data: object | None = None,
    *,
    variables: Sequence[str] | None = None,
    response: str | None = None,
    loss: str | Callable[..., Any] | Loss = "mse",
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    tied: Assignments = None,
    weights: str | None = None,
    missing: str = "error",
    seed: int = 0,
) -> Derivation:
    """Derive the gradient of a formula's loss, step by step, as one would by hand.

    Parameters
    ----------
    formula, response, loss, start, bounds, fixed, tied, weights, missing, seed
        As in `sgdfit.fit`.
    data : dict of arrays, data frame, path, …, optional
        With data the numbers are substituted, and the symbolic gradient is compared with central
        differences and, where torch is installed, with its autograd.
    variables : sequence of str, optional
        Without data: which names are columns. By default ``x``, ``t``, ``time``, ``x1``, ``t2``…

    Returns
    -------
    Derivation
        ``print`` it, or take its ``.text()``, ``.latex()`` or ``.html()``; a notebook shows it.

    Raises
    ------
    FormulaError, DataError, UsageError
        When the formula, the data or an option cannot be used.

    Examples
    --------
    >>> "∂L/∂b" in str(explain("y = a*x + b"))
    True
    """
    if data is not None and variables is not None:
        raise UsageError("the data say which names are variables; leave out variables")
    table = None if data is None else open_table(data)
    read = as_formula(formula, response)
    columns: Sequence[str] | None = None if table is None else table.names
    if variables is not None:
        _check_variables(variables, read, weights)
        columns = [*variables, *read.response_names]
    model = build(
        read,
        columns,
        loss=loss,
        start=start,
        bounds=bounds,
        fixed=fixed,
        tied=tied,
        seed=seed,
    )
    if table is None:
        return derive(model, weighted=weights is not None)
    task = prepare(model, table, Weighting(weights), missing)
    held = dict(zip(model.columns, task.chunk.columns, strict=True))
    return derive(model, held, weights=task.chunk.weights)


def _check_variables(variables: Sequence[str], read: Formula, weights: str | None) -> None:
    """Refuse a variable that nothing uses: it is misspelled."""
    known = dict.fromkeys((*read.response_names, *read.names))
    if weights is not None:
        known |= dict.fromkeys(as_formula(weights).names)
    for name in variables:
        if name not in known:
            raise UsageError(
                f"the variable {name!r} is not in the formula; its names are {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
