"""A linear model beside Vowpal Wabbit, which learns by stochastic gradient descent from a cache."""

from __future__ import annotations

import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import sgdfit
from speed_data import CURVES, observed, parquet
from speed_fits import minimum
from speed_tables import Line, Table

__all__ = ["vowpal_tables"]

ROWS = 1_000_000
PASSES = (1, 2, 4, 8, 16)
CURVE = CURVES[1]
# As near to the least mean loss as this counts as the same loss.
SAME = 1e-3
OURS = "sgdfit auto, from Parquet"


def vowpal_tables(repeat: int, folder: Path) -> list[Table]:
    """Time both until their mean loss is the least one."""
    data = observed(CURVE, ROWS)
    found = [_auto(data, repeat, folder), _textbook(data, repeat)]
    if importlib.util.find_spec("vowpalwabbit") is None:
        found.append(Line("Vowpal Wabbit", None, 0, "not installed: pip install vowpalwabbit"))
    else:
        cache = _cached(data, folder / f"vowpal-{ROWS}.cache")
        found += _passes(cache, data, repeat)
    title = (
        f"{CURVE.formula}, linear in its parameters, {ROWS:,} rows: the time until the mean loss is"
        f" within {SAME:.0e} of the least one"
    )
    return [Table(title, "seconds", found, "", OURS)]


def excess(theta: Any, data: dict[str, Any]) -> float:
    """Return how far the mean loss is above the least one, as a fraction of that."""
    x, y = data["x"], data["y"]
    least = minimum(CURVE, x, y)[0]
    losses = [float(np.mean((CURVE.function(np, x, *at) - y) ** 2)) for at in (theta, least)]
    return losses[0] / losses[1] - 1.0


def _line(name: str, seconds: list[float], theta: Any, data: dict[str, Any], rows: int) -> Line:
    middle = statistics.median(seconds)
    note = f"{rows / middle / 1e6:,.1f} million rows/s, loss {excess(theta, data):.1e} above"
    return Line(name, middle, len(seconds), note)


def _auto(data: dict[str, Any], repeat: int, folder: Path) -> Line:
    # Of no more rows than a row group holds, the file has the same ones as the arrays.
    return _fits(OURS, data, str(parquet(CURVE, ROWS, folder)), repeat, {})


def _textbook(data: dict[str, Any], repeat: int) -> Line:
    options = {
        "optimizer": "sgd",
        "batch_size": 64,
        "epochs": 1,
        "schedule": "inverse_time(decay=0.01)",
        "kernel": "compiled",
    }
    return _fits("sgdfit sgd, batch 64, 1 epoch", data, data, repeat, options)


def _fits(name: str, data: Any, given: Any, repeat: int, options: dict[str, Any]) -> Line:
    seconds = []
    for _ in range(1 + repeat):
        begun = time.perf_counter()
        fit = sgdfit.fit(CURVE.formula, given, **options)
        seconds.append(time.perf_counter() - begun)
    theta = [fit.estimates[parameter].value for parameter in "abc"]
    return _line(name, seconds[1:], theta, data, fit.rows_visited or ROWS)


def _cached(data: dict[str, Any], cache: Path) -> Path:
    """Return the rows in Vowpal Wabbit's own binary format, written unless they are there."""
    if cache.exists():
        return cache
    text = cache.with_suffix(".txt")
    with text.open("w") as file:
        for x, y in zip(data["x"].tolist(), data["y"].tolist(), strict=True):
            file.write(f"{y!r} | u:{x * x!r} v:{x!r}\n")
    _learning(f"--data {text} --cache_file {cache} -k --noop").finish()
    text.unlink()
    return cache


def _learning(arguments: str) -> Any:
    """Return a workspace that has gone through its file, as it does when it is made."""
    from vowpalwabbit import Workspace

    return Workspace(f"{arguments} --quiet")


def _passes(cache: Path, data: dict[str, Any], repeat: int) -> list[Line]:
    """Return lines for more and more passes, up to the one whose loss is the least."""
    found = []
    for passes in PASSES:
        seconds = []
        for _ in range(repeat):
            theta, took = _learned(cache, passes)
            seconds.append(took)
        name = f"Vowpal Wabbit, {passes} pass{'es' * (passes > 1)}"
        found.append(_line(name, seconds, theta, data, passes * ROWS))
        if excess(theta, data) <= SAME:
            break
    return found


def _learned(cache: Path, passes: int) -> tuple[np.ndarray, float]:
    """Learn, and read the parameters off the predictions at three points."""
    begun = time.perf_counter()
    workspace = _learning(f"--cache_file {cache} --passes {passes} --holdout_off")
    took = time.perf_counter() - begun
    points = np.array([0.5, 2.0, 3.5])
    seen = [workspace.predict(f"| u:{x * x!r} v:{x!r}") for x in points.tolist()]
    workspace.finish()
    return np.linalg.solve(np.vander(points, 3), np.array(seen)), took
