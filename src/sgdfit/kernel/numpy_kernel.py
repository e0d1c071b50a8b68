"""The NumPy form of the kernel: whole batches at a time, no compile wait, and the oracle.

Also expressions at many parameter points at once, which is what a search for starts evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sgdfit.formula.external import calls_in
from sgdfit.formula.limits import slope_limit
from sgdfit.formula.real import select
from sgdfit.kernel.emission import Dialect, Expressions, emit, emit_model, expressions_of
from sgdfit.kernel.kernel import Chunk, Kernel, Rows, Segment, State, SweepResult, chunk_of
from sgdfit.kernel.summation import PANEL, length, triangle
from sgdfit.model.loss import PREDICTION, TARGET, Loss
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

Expr = Any  # SymPy ships no types
Evaluate = Callable[[np.ndarray, Sequence[Any]], np.ndarray]
Terms = Callable[..., tuple[np.ndarray, ...]]

# Values of one temporary at a time: half a megabyte stays in the cache.
VALUES = 65_536
# Rows evaluated at once, a share of a panel: temporaries stay in the cache and memory bounded.
STRIDE = 16_384


@lru_cache(maxsize=256)
def evaluator(
    expressions: tuple[Expr, ...], points: tuple[str, ...], rows: tuple[str, ...]
) -> Evaluate:
    """Return a function (points, rows) -> values of the ``expressions``.

    The expressions are of the names in ``points`` and ``rows`` alone. What differs from point to
    point are the columns of a float64[k, len(points)]; what differs from row to row are arrays
    float64[n], or numbers. The values are float64[k, len(expressions), n].

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> line = as_formula("a + b*x").expression
    >>> values = evaluator((line,), ("a", "b"), ("x",))
    >>> values(np.array([[1.0, 2.0], [0.0, 5.0]]), [np.array([0.0, 1.0, 2.0])])
    array([[[ 1.,  3.,  5.]],
           [[ 0.,  5., 10.]]])
    """
    names = {name: f"p{i}" for i, name in enumerate(points)}
    names |= {name: f"x{i}" for i, name in enumerate(rows)}
    targets = [f"f{i}" for i in range(len(expressions))]
    lines = [*emit(expressions, names, targets, "numpy"), f"return [{', '.join(targets)}]"]
    terms = load(", ".join(names.values()), lines, {"numpy": np}, expressions)[1]

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


def make_numpy(model: Model, optimizer: Optimizer | None, root: np.ndarray | None = None) -> Kernel:
    """Return the NumPy form of the kernel, of rows whose correlations may have a Cholesky root."""
    source, terms = terms_of(model)
    if root is not None:
        terms = _whitened(terms, root)

    def rows(theta: np.ndarray, chunk: Chunk) -> Rows:
        return Rows(*terms(np.asarray(theta, dtype=np.float64), chunk))

    def panel_sums(theta: np.ndarray, chunk: Chunk, scores: bool = False) -> np.ndarray:
        return sum_rows(terms, theta, chunk, scores)

    def sweep(state: State, chunk: Chunk, segment: Segment) -> SweepResult:
        assert optimizer is not None, "a kernel without an optimizer takes no steps"
        return run_segment(lambda at, i: batch_of(terms, at, chunk, i), optimizer, state, segment)

    return Kernel("numpy", source, rows, panel_sums, sweep)


def with_limits(
    sums: np.ndarray, by_limits: Kernel, theta: np.ndarray, chunk: Chunk, scores: bool
) -> np.ndarray:
    """Return the sums of panels; where the loss is finite, slopes that are not may have a limit."""
    limited = np.isfinite(sums[:, :, 1]).all(axis=1) & ~np.isfinite(sums).all(axis=(1, 2))
    for k in np.flatnonzero(limited).tolist():
        sums[k] = by_limits.panel_sums(theta, chunk.part(k * PANEL, (k + 1) * PANEL), scores)[0]
    return sums


def terms_of(model: Model) -> tuple[str, Terms]:
    """Return the source of what evaluates `Rows` from theta, in its type, and a chunk; and that.

    Slopes that are not finite are taken by their limits.
    """
    source, terms = _load_terms(expressions_of(model))
    loss, relative = model.loss, model.loss.is_relative

    @np.errstate(all="ignore")
    def evaluate(theta: np.ndarray, chunk: Chunk) -> Any:
        columns, scale = chunk.columns, loss.scale_of(chunk.weights) if relative else None
        if {column.dtype for column in columns} != {theta.dtype}:
            columns = tuple(column.astype(theta.dtype, copy=False) for column in columns)
        if isinstance(scale, np.ndarray):
            scale = scale.astype(theta.dtype, copy=False)
        prediction, *others, jacobian = terms(theta, columns, scale)
        if not np.isfinite(np.add.reduce(jacobian, axis=None)):
            unknown = np.isfinite(prediction) & ~np.isfinite(jacobian)
            for k in np.flatnonzero(unknown.any(axis=1)).tolist():
                some = [column[unknown[k]].astype(np.float64) for column in columns]
                # Rows may each have parameters of their own.
                at = np.broadcast_to(theta.T, (len(unknown[k]), len(theta)))[unknown[k]].T
                at = at.astype(np.float64)

                def along(value: np.ndarray, k: int = k, at: Any = at, some: Any = some) -> Any:
                    at[k] = value
                    return terms(at, some, 1.0)[0]

                limit = slope_limit(along, at[k].copy())
                jacobian[k, unknown[k]] = np.where(np.isnan(limit), jacobian[k, unknown[k]], limit)
        return prediction, *others, jacobian

    return kernel_source(source, loss), evaluate


def _whitened(terms: Terms, root: np.ndarray) -> Terms:
    """Return terms of squared residuals whose weighted sum over all rows is that of whitened ones.

    With weights w and correlations LLᵀ that is |L⁻¹√w r|² (generalized least squares; Aitken 1936,
    Proc. R. Soc. Edinburgh 55, 42-48). Of some of the rows, as searches look at, it is |√w r|².
    """

    def whitened(theta: np.ndarray, chunk: Chunk) -> Any:
        found = Rows(*terms(theta, chunk))
        if chunk.rows != len(root):
            return found
        assert chunk.weights is not None  # where rows are correlated, each has its own
        scale = np.sqrt(chunk.weights)
        table = np.vstack([found.prediction - found.target, found.jacobian])
        residual, *slopes = whiten(root, table * scale) / scale
        return Rows(
            found.prediction,
            found.prediction - residual,
            residual * residual,
            2 * residual,
            found.hess,
            np.array(slopes).reshape(found.jacobian.shape),
        )

    return whitened


def whiten(root: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return L⁻¹ times each row of ``values``, float64[k, n]."""
    from scipy.linalg import solve_triangular

    whole = solve_triangular(root, values.T, lower=True, check_finite=False)
    return np.ascontiguousarray(whole.T)


def kernel_source(source: str, loss: Loss) -> str:
    """Return the text by which a kernel's sums are known again, the scale of its loss in it."""
    return f"{source}# scale {loss.scale!r}\n" if loss.is_relative else source


@lru_cache(maxsize=128)
def _load_terms(given: Expressions) -> tuple[str, Terms]:
    """Return the source of ``terms``, which computes what `Rows` holds, and the function itself."""
    empty = "numpy.empty({shape}, theta.dtype)"
    lines = lines_of(given, "numpy", empty)
    return load("theta, columns, scale", lines, {"numpy": np, "spread": _constant}, given.values)


def lines_of(given: Expressions, dialect: Dialect, empty: str) -> list[str]:
    """Return the lines of ``terms``; ``empty`` makes an array of a ``shape``."""
    row, loss = emit_model(given, dialect)
    return [
        f"{', '.join(f'p{i}' for i in range(len(given.free)))}, = theta",
        f"{', '.join(f'x{i}' for i in range(len(given.columns)))}, = columns",
        *row,
        *_spread(given.columns, [PREDICTION], given.values[:1]),
        f"jacobian = {empty.format(shape=f'({len(given.free)}, len(x0))')}",
        *(f"jacobian[{i}] = j{i}" for i in range(len(given.free))),
        *loss,
        *_spread((PREDICTION, TARGET), ["loss", "grad", "hess"], given.loss),
        "return prediction, target, loss, grad, hess, jacobian",
    ]


def _spread(
    changing: Collection[str], names: Sequence[str], expressions: Sequence[Expr]
) -> list[str]:
    """Write lines that spread over the rows what has nothing in it that changes from row to row."""
    return [
        f"{name} = spread({name}, x0)"
        for name, expression in zip(names, expressions, strict=True)
        if not any(symbol.name in changing for symbol in expression.free_symbols)
    ]


def _constant(value: Any, column: np.ndarray) -> np.ndarray:
    """Return a value as that of as many rows, which takes the room of one."""
    held = np.array(value)
    return np.ndarray(len(column), held.dtype, held, strides=(0,))


def load(
    arguments: str, lines: Sequence[str], space: Mapping[str, Any], expressions: Sequence[Expr]
) -> tuple[str, Callable[..., Any]]:
    """Return the source of a function of such ``lines``, of ``expressions``, and the function."""
    source = f"def terms({arguments}):\n" + "".join(f"    {line}\n" for line in lines)
    space = {"select": select, **space, **calls_in(*expressions)}
    if "special." in source and "special" not in space:
        from sgdfit.formula import special

        space["special"] = special
    exec(compile(source, "<sgdfit kernel>", "exec"), space)
    return source, space["terms"]


def sum_rows(terms: Terms, theta: np.ndarray, chunk: Chunk, scores: bool) -> np.ndarray:
    """Return `Kernel.panel_sums` of what ``terms`` says of the rows."""
    panel_sums = np.zeros((-(-chunk.rows // PANEL), 2, length(len(theta))))
    with np.errstate(all="ignore"):
        for first in range(0, chunk.rows, STRIDE):
            high, low = panel_sums[first // PANEL]
            block = _block(terms, theta, chunk.part(first, first + STRIDE), scores)
            # What rounding takes away goes to the low part.
            total = high + block
            taken = total - high
            low += (high - (total - taken)) + (block - taken)
            high[:] = total
    return panel_sums


def _block(terms: Terms, theta: np.ndarray, some: Chunk, scores: bool) -> np.ndarray:
    """Add up ``some`` rows: weight, loss, gradient, upper triangle of the curvature."""
    _, _, loss, grad, hess, jacobian = terms(theta, some)
    weight = np.float64(1.0) if some.weights is None else some.weights
    if some.weights is not None or loss.dtype != np.float64:
        loss, grad, hess = (weight * values for values in (loss, grad, hess))
    factor = grad * grad if scores else hess
    curvature = (jacobian * factor) @ jacobian.T.astype(np.float64, copy=False)
    gradient = (jacobian * grad).sum(axis=1, dtype=np.float64)
    whole = float(some.rows) if some.weights is None else some.weights.sum()
    return np.concatenate([[whole, loss.sum()], gradient, curvature[triangle(len(theta))]])


def run_segment(
    batch_of: Callable[[np.ndarray, Any], tuple[float, np.ndarray]],
    optimizer: Optimizer,
    state: State,
    segment: Segment,
) -> SweepResult:
    """Take steps until the rates or the rows of the epoch are used up.

    ``batch_of`` takes the parameters and what chooses the rows of a batch, and returns its mean
    loss and gradient.
    """
    rows, size = segment.order.rows, segment.batch_size
    indices = None if segment.order.sequential else segment.order.indices()
    records: list[np.ndarray] = []
    halted = False
    for rate in map(float, segment.rates):
        if state.position >= rows:
            break
        batch = slice(state.position, min(state.position + size, rows))
        taken = batch if indices is None else indices[batch]
        loss, gradient = batch_of(state.theta, taken)
        with np.errstate(all="ignore"):
            theta, slots = optimizer.update(
                state.theta, gradient, tuple(state.slots), rate, state.step + 1, optimizer.options
            )
            finite = np.isfinite(theta.sum())
        # The comparison is also false for NaN.
        if not (loss <= segment.ceiling and finite):
            halted = True
            break
        if segment.record_every and state.step % segment.record_every == 0:
            head = [state.step, rate, loss]
            records.append(np.concatenate([head, state.theta, gradient]))
        # After a full batch the next epoch begins at once.
        position = batch.stop if size < rows else 0
        theta = np.clip(theta, segment.low, segment.high).astype(state.theta.dtype, copy=False)
        step, average, averaged = state.step + 1, state.average, state.averaged
        if optimizer.average_from is not None and step > optimizer.average_from:
            averaged += 1
            average = average + (theta - average) / averaged
        state = State(theta, np.stack(slots), average, averaged, step, position)
    return SweepResult(state, halted, np.reshape(records, (-1, 3 + 2 * len(state.theta))))


def batch_of(terms: Terms, theta: np.ndarray, chunk: Chunk, taken: Any) -> tuple[float, np.ndarray]:
    """Return a batch's mean loss and gradient."""
    some = chunk_of(tuple(a[taken] for a in chunk.arrays), weighted=chunk.weights is not None)
    _, _, loss, grad, _, jacobian = terms(theta, some)
    with np.errstate(all="ignore"):
        if some.weights is not None:
            weights = some.weights.astype(theta.dtype, copy=False)
            loss, grad = loss * weights, grad * weights
        rows = len(loss)
        return float(loss.sum() / rows), (jacobian @ grad) / theta.dtype.type(rows)
