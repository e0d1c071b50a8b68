"""Data that a live view can begin with: made here, by seeds that are always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sgdfit import demo
from sgdfit.errors import UsageError

Array = np.ndarray[Any, Any]


class Sample(NamedTuple):
    """Columns, a formula that may describe them, and parameters to begin with."""

    title: str
    columns: Callable[[], dict[str, Array]]
    formula: str
    start: dict[str, float]


def _noise(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(count)


def _decay() -> dict[str, Array]:
    t = np.linspace(0, 10, 60)
    return {"t": t, "y": 5 * np.exp(-0.6 * t) + 1 + 0.2 * _noise(60, 1)}


def _peak() -> dict[str, Array]:
    x = np.linspace(0, 10, 120)
    return {"x": x, "y": 4 * np.exp(-(((x - 6) / 0.8) ** 2) / 2) + 0.3 * x + 0.25 * _noise(120, 2)}


def _growth() -> dict[str, Array]:
    t = np.linspace(0, 20, 50)
    return {"t": t, "size": 10 / (1 + np.exp(-0.7 * (t - 9))) + 0.25 * _noise(50, 3)}


def _wave() -> dict[str, Array]:
    t = np.linspace(0, 6, 100)
    return {"t": t, "y": 2 * np.sin(2.3 * t + 0.5) + 0.3 * _noise(100, 4)}


def _sites() -> dict[str, Array]:
    t, rate = np.tile(np.linspace(0, 6, 30), 3), np.repeat((0.3, 0.6, 1.2), 30)
    site = np.repeat(("lake", "moor", "ridge"), 30)
    return {"t": t, "site": site, "y": 5 * np.exp(-rate * t) + 1 + 0.2 * _noise(90, 8)}


def _outliers() -> dict[str, Array]:
    x = np.linspace(0, 10, 40)
    y = 1.5 * x + 2 + 0.4 * _noise(40, 5)
    y[[5, 17, 31]] += (14.0, -12.0, 18.0)
    return {"x": x, "y": y}


def _many() -> dict[str, Array]:
    x = np.random.default_rng(6).uniform(0, 10, 100_000)
    return {"x": x, "y": 3 * np.exp(-0.4 * x) + 0.5 + 0.5 * _noise(100_000, 7)}


SAMPLES = {
    "tutorial": Sample(
        "Noisy quadratic (20)", demo.points, demo.FORMULA, {"a": -1.0, "b": -2.0, "c": 9.0}
    ),
    "decay": Sample("Decay (60)", _decay, "y = a*exp(-k*t) + c", {"a": 2.0, "k": 0.2, "c": 2.0}),
    "peak": Sample(
        "A peak over a line (120)",
        _peak,
        "y = h*exp(-((x - m)/s)^2/2) + b*x",
        {"h": 1.0, "m": 4.0, "s": 2.0, "b": 0.0},
    ),
    "growth": Sample(
        "Growth (50)", _growth, "size = K/(1 + exp(-r*(t - m)))", {"K": 6.0, "r": 0.3, "m": 5.0}
    ),
    "wave": Sample("A wave (100)", _wave, "y = a*sin(w*t + p)", {"a": 1.0, "w": 2.0, "p": 0.0}),
    "outliers": Sample("A line with outliers (40)", _outliers, "y = a*x + b", {"a": 0.0, "b": 8.0}),
    "sites": Sample(
        "Decay at three sites (90)",
        _sites,
        "y = a*exp(-k[site]*t) + c",
        {"a": 3.0, "k[lake]": 0.5, "k[moor]": 0.7, "k[ridge]": 0.9, "c": 0.5},
    ),
    "many": Sample(
        "100,000 points of decay", _many, "y = a*exp(-k*x) + c", {"a": 1.0, "k": 1.0, "c": 1.0}
    ),
}
FIRST = "tutorial"


def sample_of(asked: object) -> Sample:
    """Return the sample of a name."""
    name = str(asked)
    if name not in SAMPLES:
        raise UsageError(f"there is no sample {name!r}; there are {', '.join(SAMPLES)}")
    return SAMPLES[name]
