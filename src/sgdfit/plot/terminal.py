"""The fitted curve in characters, for a terminal without a screen."""

from __future__ import annotations

import re

import numpy as np

from sgdfit.errors import UsageError, require
from sgdfit.plot.landscape import plot_data
from sgdfit.plot.style import shortened
from sgdfit.result.result import Result

# Of many points so many are drawn: a terminal has no room for more.
MOST_POINTS = 500
HEIGHT = 20


def text_plot(result: Result, data: object, width: int = 80, height: int = HEIGHT) -> str:
    """Return data and curve drawn in characters.

    Raises
    ------
    UsageError
        When the curve is over several variables.
    MissingDependencyError
        When plotext is not installed.
    """
    plotext = require("plotext", "a plot in the terminal")
    seen = plot_data(result, data)
    if not seen.is_curve or seen.groups:
        raise UsageError(
            "a terminal shows a curve over one variable, which this is not; name a file, as in"
            " --plot fit.png"
        )
    chosen = np.arange(len(seen.axis))
    if len(chosen) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(chosen, MOST_POINTS, replace=False)
    grid = np.linspace(seen.axis.min(), seen.axis.max(), 4 * width)
    curve = seen.curve(grid, seen.end)
    known = np.isfinite(curve)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    plotext.plot(grid[known].tolist(), curve[known].tolist(), marker="braille")
    plotext.scatter(seen.axis[chosen].tolist(), seen.target[chosen].tolist(), marker="o")
    plotext.title(shortened(result.formula, width - 4))
    plotext.xlabel(seen.axis_name)
    # It ends lines with a colour of its own even where there is none.
    return re.sub(r"\x1b\[[0-9;]*m", "", str(plotext.build()))
