"""Whole fits of rows in memory, beside one compiled pass, reading them, and other solvers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import sgdfit
from peers_fits import NAMES, fit_peers
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import build
from sgdfit.optimizers import sgd
from speed_clock import Contender, Timing, lines, race
from speed_data import CURVES, TRUTH, Curve, observed
from speed_kernels import reading
from speed_tables import Line, Table, Target, digits_shared

__all__ = ["memory_tables", "minimum"]

BLOCK = 1 << 18
LIMIT, PASS, OURS = "reading both columns", "one compiled pass", "sgdfit, no start"
# The kernel that is not chosen, told beside the one that is.
FORMS = ("compiled", "numpy")
RIVALS = ("lmfit", "nlsq", "optimistix Levenberg-Marquardt", "torch LBFGS")


def memory_tables(rows: int, repeat: int, peers: bool) -> list[Table]:
    """Time fits of the exponential and of the linear-in-parameters curve."""
    return [_table(curve, rows, repeat, peers) for curve in CURVES]


def _table(curve: Curve, rows: int, repeat: int, peers: bool) -> Table:
    x, y = observed(curve, rows).values()
    timings = race([*_own(curve, x, y), *(fit_peers(curve, x, y) if peers else ())], repeat)
    best, errors = minimum(curve, x, y)
    found = [_line(timing, best, errors) for timing in timings]
    notes = (
        "  digits: to which the worst parameter agrees with the minimum that Gauss-Newton steps in"
        " NumPy find;",
        "  s.e.: how far from it in standard errors; MB: peak of memory beyond the data. The"
        " others begin at ones.",
    )
    title = f"A whole fit, {curve.formula}, {rows:,} rows in memory"
    return Table(title, "seconds", found, LIMIT, OURS, _targets(curve, timings), notes)


def _own(curve: Curve, x: np.ndarray, y: np.ndarray) -> list[Contender]:
    kernel = make(build(curve.formula, ["x", "y"]), sgd(), "compiled")
    chunk, theta, data = Chunk((x, y), None), np.array(TRUTH), {"x": x, "y": y}

    def fit(form: str = "auto") -> Any:
        return sgdfit.fit(curve.formula, data, kernel=form)

    return [
        Contender(LIMIT, reading(x, y)),
        Contender(PASS, lambda: kernel.sums(theta, chunk)),
        Contender(OURS, fit),
        *(Contender(f"sgdfit, kernel={form!r}", lambda f=form: fit(f)) for form in FORMS),
    ]


def minimum(curve: Curve, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the sum of squares is least, and the standard errors, without sgdfit.

    Gauss-Newton steps from the truth, which is within a few standard errors, so that three
    steps reach what float64 can tell.
    """
    theta = np.array(TRUTH)
    for _ in range(3):
        matrix, gradient, squares = np.zeros((3, 3)), np.zeros(3), 0.0
        for first in range(0, len(x), BLOCK):
            u, v = x[first : first + BLOCK], y[first : first + BLOCK]
            jacobian = np.stack(curve.jacobian(u, *theta))
            residual = v - curve.function(np, u, *theta)
            matrix += jacobian @ jacobian.T
            gradient += jacobian @ residual
            squares += float(residual @ residual)
        theta = theta + np.linalg.solve(matrix, gradient)
    return theta, np.sqrt(np.diag(np.linalg.inv(matrix)) * squares / (len(x) - 3))


def _line(timing: Timing, best: np.ndarray, errors: np.ndarray) -> Line:
    line = lines([timing], "seconds")[0]
    values = _estimates(timing.answer)
    if values is None:
        return line
    told = [
        f"{digits_shared(values, best):.1f} digits",
        f"{np.max(np.abs(values - best) / errors):.1e} s.e.",
        "" if timing.peak is None else f"{timing.peak / 1e6:,.0f} MB",
    ]
    if isinstance(timing.answer, sgdfit.Result):
        told.append(f"{(timing.answer.rows_visited or 0) / timing.answer.rows:.2f} looks a row")
        told += [timing.answer.status.name, timing.answer.kernel]
    return line._replace(note=", ".join(filter(None, [*told, line.note])))


def _estimates(answer: Any) -> np.ndarray | None:
    if isinstance(answer, sgdfit.Result):
        return np.array([answer.estimates[name].value for name in NAMES])
    if isinstance(answer, np.ndarray | list) and len(answer) == len(NAMES):
        return np.asarray(answer, dtype=float)
    return None


def _targets(curve: Curve, timings: list[Timing]) -> tuple[Target, ...]:
    """Compare with what was aimed at, for the curve for which it was."""
    if curve.name != "exponential":
        return ()
    seconds = {timing.contender.name: timing.median for timing in timings}
    rivals = [seconds[name] for name in RIVALS if math.isfinite(seconds.get(name, math.nan))]
    found = [Target("compiled passes that the fit takes", seconds[OURS] / seconds[PASS], 3.0)]
    if "scipy curve_fit" in seconds:
        slow = seconds["scipy curve_fit"] / seconds[OURS]
        found.append(Target("times as fast as curve_fit", slow, 50.0, at_least=True))
        best = min(rivals, default=math.nan) / seconds[OURS]
        found.append(
            Target("times as fast as the best of lmfit, nlsq, optimistix, torch", best, 10.0, True)
        )
    return tuple(found)
