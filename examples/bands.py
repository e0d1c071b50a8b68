"""How sure a fit is, as a picture: the bands of a curve, and two kinds of interval side by side.

    python examples/bands.py FOLDER

The data are NIST's set BoxBOD: oxygen demand over incubation time, from Box, Hunter and Hunter,
Statistics for Experimenters (1978), pp. 483-487.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import sgdfit
from sgdfit.plot.style import STYLES, dress, label, legend

FORMULA = "y = b1*(1 - exp(-b2*x))"
DATA = Path(__file__).parent / "boxbod.csv"

x, y = np.loadtxt(DATA, delimiter=",", skiprows=1, unpack=True)
wald = sgdfit.fit(FORMULA, DATA)
profile = sgdfit.fit(FORMULA, DATA, intervals="profile")


def draw_bands(ax, look):
    """Draw the curve with both bands, beyond the last point too."""
    grid = np.linspace(0, 14, 300)
    sure = wald.predict({"x": grid}, interval="confidence")
    new = wald.predict({"x": grid}, interval="prediction")
    dress(ax, look, "How sure of the curve, and of the next observation")
    ax.fill_between(grid, new.low, new.high, color=to_rgba(look.main, 0.10), lw=0)
    ax.fill_between(grid, sure.low, sure.high, color=to_rgba(look.main, 0.30), lw=0)
    ax.plot(grid, np.stack([new.low, new.high], axis=1), color=to_rgba(look.main, 0.6), lw=0.9)
    (curve,) = ax.plot(grid, sure.prediction, color=look.main, lw=2.2)
    points = ax.scatter(x, y, s=44, color=look.ink, edgecolors=look.paper, lw=1.2, zorder=5)
    shades = [
        Patch(facecolor=to_rgba(look.main, 0.40)),
        Patch(facecolor=to_rgba(look.main, 0.10), edgecolor=to_rgba(look.main, 0.6), lw=0.9),
    ]
    names = ["6 observations", "fit", "95%: the curve", "95%: a new observation"]
    legend(ax, look, [points, curve, *shades], names, loc="lower right")
    ax.set(xlim=(0, 14), ylim=(-70, 310))
    label(ax, look, "incubation time x (days)", "oxygen demand y (mg/l)")


def draw_intervals(ax, look):
    """Draw where the sum of squares is near its minimum, and what each interval makes of it."""
    b1, b2 = np.meshgrid(np.linspace(165, 275, 400), np.linspace(0.12, 1.2, 400))
    squares = ((y - b1[..., None] * (1 - np.exp(-b2[..., None] * x))) ** 2).sum(axis=-1)
    t = (wald.estimates["b1"].interval[1] - wald.values["b1"]) / wald.estimates["b1"].stderr
    rise = (squares - wald.residual_sum_of_squares) / (t**2 * wald.noise_variance)
    apart = np.stack([b1 - wald.values["b1"], b2 - wald.values["b2"]], axis=-1)
    ellipse = np.einsum("...i,ij,...j", apart, np.linalg.inv(wald.covariance), apart) / t**2
    dress(ax, look, "Six points bend the region of good fits")
    ax.contourf(b1, b2, rise, levels=[0, 1], colors=[to_rgba(look.main, 0.25)])
    ax.contour(b1, b2, rise, levels=[1], colors=[look.main], linewidths=1.8)
    ax.contour(b1, b2, ellipse, levels=[1], colors=[look.other], linewidths=1.5, linestyles="--")
    ax.plot(wald.values["b1"], wald.values["b2"], "X", ms=9, color=look.ink, mec=look.paper)
    for fit, colour, dash, at in ((profile, look.main, "-", 0), (wald, look.other, "--", 1)):
        style = {"color": colour, "linestyle": dash, "lw": 2.2, "solid_capstyle": "butt"}
        left, below = 168 + 2.2 * at, 0.15 + 0.022 * at
        ax.plot(fit.estimates["b1"].interval, [below] * 2, marker="|", ms=9, **style)
        ax.plot([left] * 2, fit.estimates["b2"].interval, marker="_", ms=9, **style)
    handles = [
        Line2D([], [], marker="X", ms=8, ls="", color=look.ink),
        Patch(facecolor=to_rgba(look.main, 0.25), edgecolor=look.main, lw=1.5),
        Line2D([], [], color=look.other, ls="--", lw=1.5),
    ]
    names = ["estimates", "profile likelihood", "Student's t (Wald)"]
    legend(ax, look, handles, names, loc="upper right")
    ax.set(xlim=(165, 275), ylim=(0.12, 1.2))
    label(ax, look, "b1", "b2")


def main():
    """Write the picture, light and dark."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name, look in STYLES.items():
        made = Figure(figsize=(10, 4.2), layout="constrained", facecolor=look.paper)
        left, right = made.subplots(1, 2, width_ratios=(1.25, 1))
        draw_bands(left, look)
        draw_intervals(right, look)
        made.savefig(folder / f"bands-{name}.png", dpi=150)


if __name__ == "__main__":
    main()
