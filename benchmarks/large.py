"""What a fit of many rows in memory costs, beside other solvers and beside reading the rows.

Run it as ``python benchmarks/large.py [--rows 20000000] [--turns 3] [--no-peers]``. Two curves, the
decay a·exp(−b·x) + c and the quadratic a·x² + b·x + c. sgdfit gets no starting values, curve_fit
gets the truth. The table gives median seconds (a peer that takes more than ten is timed once), how
many times the reading of both columns that is, how often each row was visited, how far the
estimates are from those of curve_fit in standard errors, and the peak of memory beyond the data.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy.optimize import curve_fit

import sgdfit
from sgdfit.kernels.kernel import Chunk, make
from sgdfit.models.model import build
from sgdfit.optimization.optimizer import sgd

ROWS, TURNS = 20_000_000, 3
NOISE = 0.1
# A peer this slow is timed once.
SLOW = 10.0
TRUTH = (2.0, 0.7, 0.5)
NAMES = ("a", "b", "c")


class Curve(NamedTuple):
    """A formula, and the same as a function."""

    name: str
    formula: str
    function: Callable[..., Any]


class Answer(NamedTuple):
    """Estimates, standard errors and rows visited, as far as a contender tells them."""

    values: np.ndarray | None = None
    errors: np.ndarray | None = None
    visited: int | None = None


class Line(NamedTuple):
    """A line of the table."""

    name: str
    seconds: float
    first: float
    memory: float | None
    answer: Answer


CURVES = (
    Curve("decay", "y = a*exp(-b*x) + c", lambda x, a, b, c: a * np.exp(-b * x) + c),
    Curve("quadratic", "y = a*x**2 + b*x + c", lambda x, a, b, c: a * x * x + b * x + c),
)


def read(x: Any, y: Any) -> float:
    """Add up both columns: what memory allows."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] + y[i]
    return total


def contenders(
    curve: Curve, x: np.ndarray, y: np.ndarray, peers: bool
) -> dict[str, Callable[[], Answer]]:
    """Return what is timed, by name."""
    reading = numba.njit(fastmath={"reassoc", "contract"})(read)
    kernel = make(build(curve.formula, ["x", "y"]), sgd(), "compiled")
    chunk, theta = Chunk((x, y), None), np.array(TRUTH)

    def reads() -> Answer:
        reading(x, y)
        return Answer(visited=len(x))

    def sums() -> Answer:
        kernel.sums(theta, chunk)
        return Answer(visited=len(x))

    def ours(form: str = "auto") -> Answer:
        fit = sgdfit.fit(curve.formula, {"x": x, "y": y}, kernel=form)
        if fit.status.name != "converged":
            raise SystemExit(f"sgdfit: {fit.status.label}: {fit.status.cause}")
        table = [fit.estimates[name] for name in NAMES]
        errors = np.array([estimate.stderr for estimate in table])
        return Answer(np.array([e.value for e in table]), errors, fit.rows_visited)

    def scipys() -> Answer:
        values, covariance = curve_fit(curve.function, x, y, TRUTH, xtol=1e-14, ftol=1e-14)
        return Answer(values, np.sqrt(np.diag(covariance)))

    def numpys() -> Answer:
        return Answer(np.linalg.lstsq(np.vander(x, 3), y, rcond=None)[0])

    found = {
        "reading both columns": reads,
        "one pass of compiled sums": sums,
        "sgdfit, no starts": ours,
        "sgdfit, compiled kernel": lambda: ours("compiled"),
        "sgdfit, numpy kernel": lambda: ours("numpy"),
    }
    if peers and curve.name == "quadratic":
        found["numpy lstsq"] = numpys
    if peers:
        found["scipy curve_fit, true starts"] = scipys
    return found


def timed(name: str, turn: Callable[[], Answer], turns: int) -> Line:
    """Time one contender: first once, which compiles, then the turns that count."""
    begun, before = time.perf_counter(), reset_peak()
    answer = turn()
    first, peak = time.perf_counter() - begun, peak_bytes()
    memory = None if before is None or peak is None else (peak - before) / 1e6
    taken = []
    peer = name.startswith(("scipy", "numpy"))
    for _ in range(0 if peer and first > SLOW else turns):
        begun = time.perf_counter()
        turn()
        taken.append(time.perf_counter() - begun)
    return Line(name, statistics.median(taken) if taken else first, first, memory, answer)


def reset_peak() -> int | None:
    """Let the peak of resident memory count from here, and return where it stands in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return peak_bytes()


def peak_bytes() -> int | None:
    """Return the peak of resident memory in bytes, where the system tells it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM")), None)
    return None if peak is None else int(peak) * 1024


def written(lines: list[Line], rows: int) -> list[str]:
    """Return the lines of the table."""
    floor = lines[0].seconds
    judge = next((line.answer for line in lines if line.name.startswith("scipy")), Answer())
    told = [
        f"{'':30}{'seconds':>10}{'(first)':>10}{'/ reading':>11}{'visits a row':>14}"
        f"{'off by, s.e.':>14}{'memory, MB':>12}"
    ]
    for line in lines:
        visits = "" if line.answer.visited is None else f"{line.answer.visited / rows:.3f}"
        memory = "" if line.memory is None else f"{line.memory:,.0f}"
        told.append(
            f"{line.name:30}{line.seconds:>10.4f}{line.first:>10.3f}{line.seconds / floor:>11.1f}"
            f"{visits:>14}{off_by(line.answer, judge):>14}{memory:>12}"
        )
    return told


def off_by(answer: Answer, judge: Answer) -> str:
    """Return the largest difference to the judge's estimates, in its standard errors."""
    if answer.values is None or judge.errors is None or answer is judge or judge.values is None:
        return ""
    return f"{np.max(np.abs(answer.values - judge.values) / judge.errors):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--no-peers", action="store_true", help="time sgdfit alone")
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    x = random.uniform(0.0, 4.0, asked.rows)
    noise = NOISE * random.normal(size=asked.rows)
    print(f"{asked.rows:,} rows, two float64 columns in memory, medians of {asked.turns} turns")
    for curve in CURVES:
        y = curve.function(x, *TRUTH) + noise
        lines = [
            timed(name, turn, asked.turns)
            for name, turn in contenders(curve, x, y, not asked.no_peers).items()
        ]
        print(f"\n{curve.formula}", *written(lines, asked.rows), sep="\n")


if __name__ == "__main__":
    main()
