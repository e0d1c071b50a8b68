"""What a small fit costs the second time, stage by stage, beside scipy's curve_fit and lmfit.

Run it as ``python benchmarks/warm.py [optimizer]``. The data are made up, those of two cases of the
shape of NIST's Misra1a and Gauss1, and so are the starts. Without an optimizer named, each fit is
the default one; with one, it takes a single step, so that the table shows what stands around a
descent. Medians in milliseconds, and of the whole also the least, which a busy machine changes
little; the libraries take turns, so that whatever else the machine does falls on all. lmfit is
left out where it is not installed.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

import sgdfit
from sgdfit.errors import require

TURNS = 200
# Each stage and the function that it is; one within another is taken off it. The rest is what is
# said of the outcome: standard errors, status, the result.
STAGES = {
    "open": ("sgdfit.data.readers", "open_table"),
    "parse": ("sgdfit.formula.reading", "as_formula"),
    "build": ("sgdfit.model.model", "build"),
    "prepare": ("sgdfit.fitting.problem", "prepare"),
    "kernel": ("sgdfit.kernel.forms", "make"),
    "descent": ("sgdfit.fitting.gauss_newton", "walk"),
    "textbook": ("sgdfit.fitting.sgd", "descend"),
}


class Case(NamedTuple):
    """A formula, the same as a function for curve_fit, its data and its start."""

    name: str
    formula: str
    curve: Callable[..., Any]
    data: dict[str, np.ndarray[Any, Any]]
    start: dict[str, float]


def decay() -> Case:
    """20 rows of an exponential decay onto a level, 3 parameters, with much noise."""

    def curve(x: Any, a: float, b: float, c: float) -> Any:
        return a * np.exp(-b * x) + c

    random = np.random.default_rng([7, 0])
    x = random.uniform(0.0, 4.0, 20)
    y = curve(x, 2.0, 0.7, 0.5) + random.normal(0, 0.1, x.size)
    start = {"a": 1.0, "b": 1.0, "c": 1.0}
    return Case("decay", "y = a*exp(-b*x) + c", curve, {"x": x, "y": y}, start)


def rise() -> Case:
    """14 rows of an exponential rise, 2 parameters."""

    def curve(x: Any, b1: float, b2: float) -> Any:
        return b1 * (1 - np.exp(-b2 * x))

    x = np.linspace(77.6, 760.0, 14)
    y = curve(x, 239.0, 5.5e-4) + np.random.default_rng(1).normal(0, 0.1, x.size)
    start = {"b1": 250.0, "b2": 5e-4}
    return Case("rise", "y = b1*(1 - exp(-b2*x))", curve, {"x": x, "y": y}, start)


def peaks() -> Case:
    """250 rows of two peaks on a decay, 8 parameters."""
    formula = "y = b1*exp(-b2*x) + b3*exp(-(x-b4)**2/b5**2) + b6*exp(-(x-b7)**2/b8**2)"

    def curve(x: Any, *b: float) -> Any:
        first = b[2] * np.exp(-((x - b[3]) ** 2) / b[4] ** 2)
        second = b[5] * np.exp(-((x - b[6]) ** 2) / b[7] ** 2)
        return b[0] * np.exp(-b[1] * x) + first + second

    x = np.arange(1.0, 251.0)
    truth = (98.8, 0.0105, 100.5, 67.5, 23.1, 72.0, 178.8, 18.4)
    y = curve(x, *truth) + np.random.default_rng(2).normal(0, 2.3, x.size)
    near = (94.0, 0.009, 90.0, 63.0, 25.0, 71.0, 180.0, 20.0)
    start = {f"b{i}": value for i, value in enumerate(near, 1)}
    return Case("peaks", formula, curve, {"x": x, "y": y}, start)


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Collect the seconds that each stage takes within."""
    spent = dict.fromkeys(STAGES, 0.0)
    loaded = [module for name, module in sys.modules.items() if name.startswith("sgdfit")]
    replaced = []

    def watch(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*arguments: Any, **options: Any) -> Any:
            before, inside = time.perf_counter(), sum(spent.values())
            try:
                return call(*arguments, **options)
            finally:
                within = sum(spent.values()) - inside
                spent[name] += time.perf_counter() - before - within

        return watched_call

    for name, (home, attribute) in STAGES.items():
        call = getattr(sys.modules[home], attribute)
        users = [module for module in loaded if getattr(module, attribute, None) is call]
        replaced += [(module, attribute, call) for module in users]
        for module in users:
            setattr(module, attribute, watch(name, call))
    try:
        yield spent
    finally:
        for module, attribute, call in replaced:
            setattr(module, attribute, call)


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds of one call."""
    before = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - before)


def measure(case: Case, options: dict[str, Any]) -> dict[str, float]:
    """Return the median milliseconds of each stage, of all of them, and of curve_fit."""
    curve_fit = require("scipy.optimize", "the comparison", "scipy").curve_fit
    x, y = case.data["x"], case.data["y"]

    def ours() -> Any:
        return sgdfit.fit(case.formula, case.data, start=case.start, **options)

    def theirs() -> Any:
        return curve_fit(case.curve, x, y, p0=list(case.start.values()))

    others = {"curve_fit": theirs, **by_lmfit(case)}
    for call in (ours, *others.values()):
        call()
    rows = []
    for _ in range(TURNS):
        whole = timed(ours)
        found = {name: timed(call) for name, call in others.items()}
        with watched() as spent:
            watched_whole = timed(ours)
        stages = {name: 1e3 * seconds for name, seconds in spent.items()}
        stages["rest"] = watched_whole - sum(stages.values())
        ratios = {f"all/{name}": whole / other for name, other in found.items()}
        rows.append(stages | {"all": whole} | found | ratios)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return medians | {f"least {n}": min(row[n] for row in rows) for n in ("all", *others)}


def by_lmfit(case: Case) -> dict[str, Callable[[], Any]]:
    """Return the same fit by lmfit, if that is there and can tell the parameters' names."""
    if find_spec("lmfit") is None or case.name == "peaks":
        return {}
    model = require("lmfit", "the comparison", "lmfit").Model(case.curve)
    return {"lmfit": lambda: model.fit(case.data["y"], x=case.data["x"], **case.start)}


def main() -> None:
    """Print the table."""
    options = {"optimizer": sys.argv[1], "steps": 1} if len(sys.argv) > 1 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [(case.name, measure(case, options)) for case in (decay(), rise(), peaks())]
    print(f"{'ms':16}" + "".join(f"{name:>10}" for name, _ in found))
    for row in found[0][1]:
        print(f"{row:16}" + "".join(f"{told.get(row, math.nan):10.3f}" for _, told in found))


if __name__ == "__main__":
    main()
