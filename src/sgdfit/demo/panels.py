"""The tutorial's story in one wide picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sgdfit.plot import fitted_curve
from sgdfit.plot.drawing import DASHES, Style, dress, label, legend, style_of
from sgdfit.plot.landscape import draw_ends, draw_landscape, draw_path, window
from sgdfit.plot.observed import observe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sgdfit.demo.story import Story

__all__ = ["picture"]

PLANE = ("a", "c")


def picture(story: Story, style: str = "light") -> Figure:
    """Return both runs of the listing: their losses, their ways, and the curve at the end."""
    from matplotlib.figure import Figure

    look = style_of(style)
    made = Figure(figsize=(13.5, 4.3), layout="constrained", facecolor=look.paper)
    losses, ways, curve = made.subplots(1, 3, width_ratios=(1, 1.05, 1))
    _draw_losses(story, losses, look)
    _draw_ways(story, ways, look)
    fitted_curve(story.best, story.data, curve, style)
    dress(curve, look, "… on the least-squares curve")
    return made


def _draw_losses(story: Story, ax: Axes, look: Style) -> None:
    found: Any = story.listing.diagnosis
    limit = f"{found.stability_limit:.4g}"
    dress(ax, look, f"Above 2/λmax = {limit} the loss grows …")
    length = story.listing.steps + 1
    shown = [
        ax.plot(trace.step[:length], trace.loss[:length], color=colour, marker=mark, **way)[0]
        for trace, colour, mark, way in (
            (story.listing.trace, look.other, "o", {"linestyle": DASHES[1]}),
            (story.best.trace, look.main, "s", {"linestyle": "-"}),
        )
    ]
    for line in shown:
        line.set(linewidth=1.7, markersize=4.5)
    end = ax.axhline(story.best.loss, color=look.faint, linewidth=1, linestyle=DASHES[2])
    ax.set_yscale("log")
    ax.set_yticks(ticks := [5, 10, 20, 50, 100], list(map(str, ticks)))
    ax.minorticks_off()
    names = [*_rates(story), "least squares"]
    legend(ax, look, [*shown, end], names, loc="center right", bbox_to_anchor=(1, 0.6))
    label(ax, look, "step", "loss (mse)")


def _draw_ways(story: Story, ax: Axes, look: Style) -> None:
    dress(ax, look, "… its steps leap out of the valley, the others settle …")
    extents = [window(result, PLANE) for result in (story.listing, story.best)]
    view = tuple(
        (min(low for low, _ in pair), max(high for _, high in pair))
        for pair in zip(*extents, strict=True)
    )
    draw_landscape(observe(story.best, story.data), PLANE, view, ax, look)
    lost = draw_path(story.listing, PLANE, ax, look.other, linestyle=DASHES[1])
    found = draw_path(story.best, PLANE, ax, look.main, marker="s")
    ends, names = draw_ends(story.best, PLANE, ax, look)
    handles = [lost, found, *ends]
    legend(ax, look, handles, [*_rates(story), names[0], "least squares"], loc="upper left")


def _rates(story: Story) -> list[str]:
    runs = (story.listing, story.best)
    return [f"rate {run.trace.learning_rate[0]:.4g}" for run in runs]
