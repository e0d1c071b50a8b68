"""How often nominal 95% intervals and bands hold the truth, counted on simulated data.

Six models are fitted, each to thousands of data sets that differ by their noise alone. Counted is
how often the interval of a parameter holds its true value, the confidence band the true curve, and
the prediction band a new observation (bands in single points, as they are meant). The designs
determine their parameters well, since t intervals are exact for linear models only; the last one,
after the six, does not: there intervals by profile likelihood stand beside those by Student's t.

    python benchmarks/interval_coverage.py --sets 10000

It is not called coverage.py because Numba imports whatever has that name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import sgdfit

__all__ = [
    "CONFIDENCE",
    "CURVED",
    "DESIGNS",
    "PREDICTION",
    "Count",
    "Design",
    "simulate",
    "summary",
]

LOW, HIGH = 94.0, 96.0
CONFIDENCE, PREDICTION = "confidence band", "prediction band"
# Sets that a process takes at a time.
PORTION = 250

Columns = dict[str, NDArray[np.float64]]


class Design(NamedTuple):
    """A model, its true parameters, and where and how exactly it is observed.

    Attributes
    ----------
    name : str
    formula : str
        Of x.
    curve : function
        (x, *truth) -> the true y.
    truth, start : dict of str to float
        True parameters, and where each fit starts.
    x : float64[n]
        Where it is observed.
    points : float64[k]
        Where the bands are looked at.
    deviation : function
        (x, true y) -> the standard deviation of an observation.
    known : bool
        Whether the fit is told the standard deviations, as sigma with absolute_sigma.
    """

    name: str
    formula: str
    curve: Callable[..., NDArray[np.float64]]
    truth: dict[str, float]
    start: dict[str, float]
    x: NDArray[np.float64]
    points: NDArray[np.float64]
    deviation: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
    known: bool = False


class Count(NamedTuple):
    """How often one interval or band held the truth.

    Attributes
    ----------
    design, what : str
    coverage : float
        Percent.
    error : float
        The Monte Carlo standard error of that, in percent.
    sets : int
    failed : int
        Sets whose fit gave no interval; they count as not held.
    """

    design: str
    what: str
    coverage: float
    error: float
    sets: int
    failed: int


def _same(deviation: float) -> Callable[..., NDArray[np.float64]]:
    return lambda x, y: np.full(len(x), deviation)


DESIGNS = (
    Design(
        "straight line",
        "y = a*x + b",
        lambda x, a, b: a * x + b,
        {"a": 2.0, "b": -1.0},
        {"a": 1.0, "b": 1.0},
        np.linspace(0, 10, 20),
        np.array([-2.0, 0, 3, 10, 14]),
        _same(1.0),
    ),
    Design(
        "exponential decay",
        "y = a*exp(-k*x) + c",
        lambda x, a, k, c: a * np.exp(-k * x) + c,
        {"a": 5.0, "k": 0.8, "c": 1.0},
        {"a": 4.0, "k": 1.0, "c": 0.5},
        np.linspace(0, 7, 40),
        np.array([0.0, 0.5, 2, 5, 8]),
        _same(0.15),
    ),
    Design(
        "peak on background",
        "y = h*exp(-(x - m)**2/(2*s**2)) + b + d*x",
        lambda x, h, m, s, b, d: h * np.exp(-((x - m) ** 2) / (2 * s**2)) + b + d * x,
        {"h": 10.0, "m": 5.0, "s": 0.8, "b": 2.0, "d": 0.3},
        {"h": 8.0, "m": 4.7, "s": 1.0, "b": 1.0, "d": 0.0},
        np.linspace(0, 10, 50),
        np.array([0.0, 4, 5, 6.5, 11]),
        _same(0.3),
    ),
    Design(
        "Michaelis-Menten",
        "y = v*x/(k + x)",
        lambda x, v, k: v * x / (k + x),
        {"v": 3.0, "k": 1.5},
        {"v": 2.0, "k": 1.0},
        np.geomspace(0.2, 20, 24),
        np.array([0.1, 0.5, 1.5, 8, 40]),
        lambda x, y: 0.02 + 0.03 * y,
        known=True,
    ),
    Design(
        "logistic growth",
        "y = l/(1 + exp(-r*(x - m)))",
        lambda x, l, r, m: l / (1 + np.exp(-r * (x - m))),  # noqa: E741
        {"l": 12.0, "r": 0.9, "m": 6.0},
        {"l": 10.0, "r": 1.2, "m": 5.0},
        np.linspace(0, 12, 30),
        np.array([1.0, 4, 6, 9, 14]),
        _same(0.3),
    ),
    Design(
        "damped sine",
        "y = a*exp(-d*x)*sin(w*x + p)",
        lambda x, a, d, w, p: a * np.exp(-d * x) * np.sin(w * x + p),
        {"a": 4.0, "d": 0.25, "w": 2.0, "p": 0.5},
        {"a": 3.0, "d": 0.2, "w": 2.1, "p": 0.3},
        np.linspace(0, 10, 50),
        np.array([0.0, 1, 3, 7, 11]),
        _same(0.2),
    ),
)

# Few rows, all of them below k, and loud: the curve is nearly a straight line there, so that much
# larger v and k do nearly as well, but no smaller ones.
CURVED = Design(
    "Michaelis-Menten",
    "y = v*x/(k + x)",
    lambda x, v, k: v * x / (k + x),
    {"v": 3.0, "k": 4.0},
    {"v": 2.0, "k": 3.0},
    np.linspace(0.3, 4, 8),
    np.array([1.0, 3.0]),
    _same(0.12),
)
LABELS = {"wald": "curved, Student's t", "profile": "curved, profile"}


def simulate(design: Design, seed: int, numbers: Iterable[int], intervals: str = "wald") -> Any:
    """Fit the data sets of these numbers; return which intervals and bands held the truth.

    Returns
    -------
    dict of str to float64[sets]
        By parameter or band: whether it held, of a band in which share of the points; NaN where
        the fit gave none.
    """
    truth = design.curve(design.x, *design.truth.values())
    rows = [_held(design, truth, np.random.default_rng([seed, k]), intervals) for k in numbers]
    return {what: np.array([row[what] for row in rows]) for what in rows[0]}


def _held(
    design: Design, truth: NDArray[np.float64], rng: np.random.Generator, intervals: str
) -> dict[str, float]:
    deviation = design.deviation(design.x, truth)
    data = {"x": design.x, "y": truth + deviation * rng.normal(size=len(truth)), "e": deviation}
    told: dict[str, Any] = {"sigma": "e", "absolute_sigma": True} if design.known else {}
    result = sgdfit.fit(
        design.formula, data, start=design.start, trace_every=0, intervals=intervals, **told
    )
    held = {
        name: _within(value, result.estimates[name].interval)
        for name, value in design.truth.items()
    }
    return held | _bands(design, result, rng)


def _within(value: float, ends: tuple[float, float] | None) -> float:
    return np.nan if ends is None else float(ends[0] <= value <= ends[1])


def _bands(design: Design, result: Any, rng: np.random.Generator) -> dict[str, float]:
    curve = design.curve(design.points, *design.truth.values())
    deviation = design.deviation(design.points, curve)
    seen = {CONFIDENCE: curve, PREDICTION: curve + deviation * rng.normal(size=len(curve))}
    if result.covariance is None:
        return dict.fromkeys(seen, np.nan)
    new = {"x": design.points, "e": deviation}
    held = {}
    for what, values in seen.items():
        band = result.predict(new, interval=what.split()[0])
        held[what] = float(np.mean((band.low <= values) & (values <= band.high)))
    return held


def summary(name: str, held: dict[str, NDArray[np.float64]]) -> Iterator[Count]:
    """Count how often each interval and band held."""
    for what, found in held.items():
        given = np.nan_to_num(found)
        error = 100 * float(np.std(given) / np.sqrt(len(given)))
        failed = int(np.isnan(found).sum())
        yield Count(name, what, 100 * float(given.mean()), error, len(given), failed)


def _portion(job: tuple[int, int, range, str]) -> dict[str, NDArray[np.float64]]:
    which, seed, numbers, intervals = job
    found: dict[str, NDArray[np.float64]] = simulate(
        (*DESIGNS, CURVED)[which], seed, numbers, intervals
    )
    return found


def _measure(
    pool: ProcessPoolExecutor, which: int, sets: int, seed: int, intervals: str = "wald"
) -> dict[str, NDArray[np.float64]]:
    firsts = range(0, sets, PORTION)
    jobs = [(which, seed, range(k, min(k + PORTION, sets)), intervals) for k in firsts]
    parts = list(pool.map(_portion, jobs))
    return {what: np.concatenate([part[what] for part in parts]) for what in parts[0]}


def _line(count: Count) -> str:
    within = "yes" if LOW <= count.coverage <= HIGH else "NO"
    failed = f"  ({count.failed} fits gave none)" if count.failed else ""
    figures = f"{count.coverage:6.2f} ± {count.error:.2f}"
    return f"{count.design:<22}{count.what:<18}{figures:<18}{within}{failed}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=10_000, help="data sets of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args()
    began = time.perf_counter()
    print(f"{'model':<22}{'95% interval of':<18}{'coverage %':<18}within {LOW:g}-{HIGH:g}")
    with ProcessPoolExecutor(given.workers) as pool:
        for which, design in enumerate(DESIGNS):
            for count in summary(design.name, _measure(pool, which, given.sets, given.seed)):
                print(_line(count), flush=True)
        for intervals, label in LABELS.items():
            few = max(1, given.sets // 5)
            held = _measure(pool, len(DESIGNS), few, given.seed, intervals)
            chosen = {name: held[name] for name in CURVED.truth}
            for count in summary(label, chosen):
                print(_line(count), flush=True)
    seconds = time.perf_counter() - began
    print(f"{given.sets:,} data sets of each model, {few:,} of the curved one: {seconds:.0f} s")


if __name__ == "__main__":
    main()
