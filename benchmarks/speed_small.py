"""Twenty rows: the second fit in a session, the import, and the command from cold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sgdfit
from speed_clock import Contender, lines, peer, race
from speed_data import CURVES, observed
from speed_tables import Table, Target, lined

__all__ = ["small_tables"]

ROWS = 20
# Calls of a millisecond: a turn is this many of them.
CALLS = 20
CURVE = CURVES[0]
START = {"a": 1.0, "b": 1.0, "c": 1.0}

LMFIT_SCRIPT = """\
import sys
import lmfit
import numpy as np

def curve(x, a, b, c):
    return a * np.exp(-b * x) + c

x, y = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, unpack=True)
print(lmfit.Model(curve).fit(y, x=x, a=1, b=1, c=1).fit_report())
"""
SCIPY_SCRIPT = """\
import sys
import numpy as np
from scipy.optimize import curve_fit

def curve(x, a, b, c):
    return a * np.exp(-b * x) + c

x, y = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, unpack=True)
values, covariance = curve_fit(curve, x, y)
print(values, np.sqrt(np.diag(covariance)))
"""


def small_tables(repeat: int, peers: bool, folder: Path) -> list[Table]:
    """Time what a user waits for with few rows."""
    data = observed(CURVE, ROWS)
    path = folder / "twenty.csv"
    columns = np.column_stack([data["x"], data["y"]])
    np.savetxt(path, columns, delimiter=",", header="x,y", comments="", fmt="%.17g")
    return [
        _warm(data, repeat, peers),
        _imports(repeat),
        _cold(path, repeat, peers),
    ]


def _warm(data: dict[str, Any], repeat: int, peers: bool) -> Table:
    x, y = data["x"], data["y"]
    limit, ours = "the curve itself, NumPy", "sgdfit, start given"
    fits: list[tuple[str, Callable[[], Any]]] = [
        (limit, lambda: CURVE.function(np, x, 1.0, 1.0, 1.0)),
        (ours, lambda: sgdfit.fit(CURVE.formula, data, start=START)),
        ("sgdfit, no start", lambda: sgdfit.fit(CURVE.formula, data)),
    ]
    contenders = [_often(name, call) for name, call in fits]
    if peers:
        contenders += [
            peer("scipy curve_fit", "scipy", "scipy", lambda: _often("", _scipy(x, y))),
            peer("lmfit", "lmfit", "lmfit", lambda: _often("", _lmfit(x, y))),
        ]
    found = [
        line if line.value is None else line._replace(value=1e3 * line.value / CALLS)
        for line in lines(race(contenders, repeat), "seconds")
    ]
    title = f"A fit of {ROWS} rows from Python, {CURVE.formula}, not the first of the session"
    table = Table(title, "ms", found, limit, ours)
    return table._replace(targets=(Target("ms with a start", lined(table, ours), 1.0),))


def _often(name: str, call: Callable[[], Any]) -> Contender:
    def turn() -> None:
        for _ in range(CALLS):
            call()

    return Contender(name, turn, note=f"mean of {CALLS} calls a run")


def _scipy(x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    from scipy.optimize import curve_fit

    def curve(x: np.ndarray, a: float, b: float, c: float) -> Any:
        return CURVE.function(np, x, a, b, c)

    return lambda: curve_fit(curve, x, y, p0=(1.0, 1.0, 1.0))


def _lmfit(x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    import lmfit

    def curve(x: np.ndarray, a: float, b: float, c: float) -> Any:
        return CURVE.function(np, x, a, b, c)

    model = lmfit.Model(curve)
    return lambda: model.fit(y, x=x, **START)


def _process(arguments: Sequence[str]) -> Callable[[], Any]:
    """Return a run of Python in a process of its own."""
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, check=True, capture_output=True)


def _imports(repeat: int) -> Table:
    limit, ours = "import numpy", "import sgdfit"
    texts = {"a bare interpreter": "pass", limit: limit, ours: f"import numpy, {ours[7:]}"}
    contenders = [Contender(name, _process(["-c", text])) for name, text in texts.items()]
    contenders.append(
        Contender("import sgdfit, and its fit", _process(["-c", "import sgdfit; sgdfit.fit"]))
    )
    table = Table("Imports, each in a new process", "seconds",
                  lines(race(contenders, repeat), "seconds"), limit, ours)  # fmt: skip
    beyond = lined(table, ours) - lined(table, limit)
    return table._replace(targets=(Target("seconds of the import beyond NumPy", beyond, 0.3),))


def _cold(path: Path, repeat: int, peers: bool) -> Table:
    limit, ours = "a bare interpreter", "sgdfit fit"
    contenders = [
        Contender(limit, _process(["-c", "pass"])),
        Contender(ours, _process(["-m", "sgdfit", "fit", str(path), CURVE.formula])),
    ]
    if peers:
        scripts = {"scipy": SCIPY_SCRIPT, "lmfit": LMFIT_SCRIPT}
        contenders += [
            peer(
                f"a script with {name}",
                name,
                name,
                lambda text=text: Contender("", _process(["-c", text, str(path)])),
            )
            for name, text in scripts.items()
        ]
    title = f"The command from cold, {ROWS} rows of CSV, without a start (the scripts have one)"
    table = Table(title, "seconds", lines(race(contenders, repeat), "seconds"), limit, ours)
    return table._replace(targets=(Target("seconds", lined(table, ours), 1.5),))
