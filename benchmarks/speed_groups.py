"""Many little curves: a fit of three parameters for each of many groups of twenty rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import sgdfit
from speed_clock import Contender, lines, peer, race
from speed_data import CURVES
from speed_tables import Table, Target, lined

__all__ = ["group_tables"]

ROWS, GROUPS = 20, 100_000
# A loop over curve_fit takes a tenth of a millisecond each: some of the groups tell.
SOME = 500
CURVE = CURVES[0]
START = {"a": 5.0, "b": 1.0, "c": 0.0}


def group_tables(repeat: int, peers: bool) -> list[Table]:
    """Time the fits of all groups on one core, in microseconds each."""
    random = np.random.default_rng(0)
    a, b, c = random.uniform((1, 0.3, -1), (10, 2, 1), (GROUPS, 3)).T[:, :, None]
    x = np.linspace(0, 5, ROWS)
    y = CURVE.function(np, x, a, b, c) + 0.02 * random.standard_normal((GROUPS, ROWS))
    data = {"x": x, "y": y}
    limit, ours = "the curve itself, NumPy", "sgdfit.fit_many, start given"

    def many(**options: Any) -> Callable[[], Any]:
        return lambda: sgdfit.fit_many(CURVE.formula, data, threads=1, **options)

    contenders = [
        Contender(limit, lambda: CURVE.function(np, x, a, b, c), note="once for each row"),
        Contender(ours, many(start=START)),
        Contender("sgdfit.fit_many, no start", many()),
    ]
    if peers:
        contenders.append(peer("scipy curve_fit in a loop", "scipy", "scipy", lambda: _scipy(x, y)))
    found = lines(race(contenders, repeat), "seconds")
    fits = {"scipy curve_fit in a loop": SOME}
    found = [
        line if line.value is None
        else line._replace(value=1e6 * line.value / fits.get(line.name, GROUPS))
        for line in found
    ]  # fmt: skip
    title = f"{GROUPS:,} fits of {ROWS} rows, {CURVE.formula}, on one core, the second time"
    table = Table(title, "µs a fit", found, limit, ours)
    aims = (
        Target("µs a fit with a start", lined(table, ours), 10.0),
        Target("µs a fit without", lined(table, "sgdfit.fit_many, no start"), 10.0),
    )
    said = "Gpufit's authors give about 10⁴ fits a second and core for their CPU code (100 µs)"
    return [table._replace(targets=aims, notes=(said,))]


def _scipy(x: np.ndarray, y: np.ndarray) -> Contender:
    from scipy.optimize import curve_fit

    def curve(x: np.ndarray, a: float, b: float, c: float) -> Any:
        return CURVE.function(np, x, a, b, c)

    def loop() -> None:
        for row in y[:SOME]:
            curve_fit(curve, x, row, p0=tuple(START.values()))

    return Contender("scipy curve_fit in a loop", loop, note=f"of {SOME} groups")
