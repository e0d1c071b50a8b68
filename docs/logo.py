"""The logo, light and dark, and the card for links to the project: a descent down a parabola.

    python docs/logo.py FOLDER

writes logo-light.svg, logo-dark.svg and card.png (1280 by 640 pixels). The build of the site calls
`draw`.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdfit.plot.style import STYLES, Style

# Steps of gradient descent on x², each 1.65 times the one that would end there: they overshoot.
STEPS = -((-0.65) ** np.arange(5))


def draw_descent(ax: Axes, look: Style, width: float) -> None:
    """Draw the parabola and the steps, with lines of a width in points."""
    x = np.linspace(-1.12, 1.12, 60)
    ax.plot(x, x**2, color=look.main, lw=width, solid_capstyle="round")
    ax.plot(STEPS, STEPS**2, color=look.other, lw=width / 2, solid_joinstyle="round")
    ax.scatter(STEPS, STEPS**2, s=4 * width**2, color=look.other, zorder=3)
    ax.set(xlim=(-1.3, 1.3), ylim=(-0.2, 1.4))
    ax.set_axis_off()


def logo(look: Style) -> Figure:
    """Return the logo, a square inch, on no ground."""
    made = Figure(figsize=(1, 1))
    draw_descent(made.add_axes((0, 0, 1, 1)), look, 4)
    return made


def card(look: Style) -> Figure:
    """Return the card for links."""
    made = Figure(figsize=(12.8, 6.4), facecolor=look.paper)
    draw_descent(made.add_axes((0.54, 0.1, 0.42, 0.8)), look, 14)
    made.text(0.07, 0.56, "sgdfit", fontsize=88, weight="bold", color=look.ink)
    lines = (
        "Write a curve, point at data:\nits parameters, how sure they are,\nevery step of the way"
    )
    made.text(0.072, 0.5, lines, fontsize=25, color=look.faint, va="top", linespacing=1.5)
    return made


def draw(folder: Path) -> None:
    """Write the files into a folder; the same bytes each time."""
    with mpl.rc_context({"svg.hashsalt": "sgdfit"}):
        for name in ("light", "dark"):
            path, about = folder / f"logo-{name}.svg", {"Date": None, "Creator": None}
            logo(STYLES[name]).savefig(path, transparent=True, metadata=about)
    card(STYLES["light"]).savefig(folder / "card.png", dpi=100)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
