"""Expressions evaluated at many parameter points and all rows at once.

The kernel's own forms take one point and many rows; a search takes thousands of points and a few
hundred rows. Here every name holds an array, and NumPy broadcasts points against rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sgdfit.kernel.emission import emit

Expr = Any  # SymPy ships no types
Evaluate = Callable[[np.ndarray, Sequence[Any]], np.ndarray]

# Values of one temporary at a time: half a megabyte stays in the cache.
VALUES = 65_536


@lru_cache(maxsize=256)
def evaluator(
    expressions: tuple[Expr, ...], points: tuple[str, ...], rows: tuple[str, ...]
) -> Evaluate:
    """Return a function (points, rows) -> values of the ``expressions``.

    Parameters
    ----------
    expressions : tuple of sympy.Expr
        Of the names in ``points`` and ``rows`` alone.
    points : tuple of str
        What differs from point to point: the columns of a float64[k, len(points)].
    rows : tuple of str
        What differs from row to row: arrays float64[n], or numbers.

    Returns
    -------
    callable
        Its values are float64[k, len(expressions), n], NaN or infinite where there are none.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> line = as_formula("a + b*x").expression
    >>> values = evaluator((line,), ("a", "b"), ("x",))
    >>> values(np.array([[1.0, 2.0], [0.0, 5.0]]), [np.array([0.0, 1.0, 2.0])])
    array([[[ 1.,  3.,  5.]],
           [[ 0.,  5., 10.]]])
    """
    terms = _load(_source(expressions, points, rows))

    def evaluate(at: np.ndarray, data: Sequence[Any]) -> np.ndarray:
        count = max((np.size(column) for column in data), default=1)
        values = np.empty((len(at), len(expressions), count))
        stride = max(1, VALUES // max(1, count))
        with np.errstate(all="ignore"):
            for first in range(0, len(at), stride):
                some = slice(first, first + stride)
                held = [at[some, i, None] for i in range(len(points))]
                for i, term in enumerate(terms(*held, *data)):
                    values[some, i] = term
        return values

    return evaluate


def _source(expressions: tuple[Expr, ...], points: tuple[str, ...], rows: tuple[str, ...]) -> str:
    names = {name: f"p{i}" for i, name in enumerate(points)}
    names |= {name: f"x{i}" for i, name in enumerate(rows)}
    targets = [f"f{i}" for i in range(len(expressions))]
    lines = [
        *emit(expressions, names, targets, "numpy"),
        f"return ({''.join(t + ', ' for t in targets)})",
    ]
    body = "\n".join(f"    {line}" for line in lines)
    return f"def terms({', '.join(names.values())}):\n{body}\n"


def _load(source: str) -> Callable[..., tuple[Any, ...]]:
    space: dict[str, Any] = {"numpy": np}
    if "special." in source:
        from scipy import special

        space["special"] = special
    exec(compile(source, "<sgdfit candidates>", "exec"), space)
    return space["terms"]  # type: ignore[no-any-return]
