"""How plots look: light and dark, colours that tell without hue, labels, legends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.plot.density import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text


Array = np.ndarray[Any, Any]

# Squares of larger numbers overflow in matplotlib's own arithmetic.
LARGEST_DRAWN = 1e150
MOST_POINTS = 3_000  # points that are drawn one by one


class Style(NamedTuple):
    """The colours of a look."""

    paper: str
    ink: str  # text
    faint: str  # lesser text
    grid: str
    main: str  # the fit, and what is set against it; they differ in line style too
    other: str
    cycle: tuple[str, ...]  # of several parameters
    ramp: tuple[str, ...]  # density, from few to many
    basin: tuple[str, ...]  # loss, from low to high

    def of(self, k: int) -> tuple[str, Any]:
        """Return colour and dashes of the k-th of several curves, told apart in grey too."""
        return self.cycle[k % len(self.cycle)], DASHES[k % len(DASHES)]


# Colours that are told apart by colour-blind eyes: Okabe and Ito, Color Universal Design (2008).
STYLES: dict[str, Style] = {
    "light": Style(
        paper="#ffffff",
        ink="#1f2328",
        faint="#59636e",
        grid="#dde2e7",
        main="#0072b2",
        other="#d55e00",
        cycle=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#4a3aa7"),
        ramp=("#eef0f2", "#c3c8cd", "#8a929a"),
        basin=("#bcd5ea", "#f8fafc"),
    ),
    "dark": Style(
        paper="#0d1117",
        ink="#e6edf3",
        faint="#9198a1",
        grid="#2a313a",
        main="#56b4e9",
        other="#f0883e",
        cycle=("#56b4e9", "#f0883e", "#2fc89b", "#e39cc3", "#e3c34a", "#a99cf5"),
        ramp=("#1c2229", "#444c56", "#7d8590"),
        basin=("#1e4261", "#10161e"),
    ),
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


def style_of(name: str) -> Style:
    """Return the `Style` called ``name``, or raise a UsageError."""
    if name not in STYLES:
        raise UsageError(
            f"no style is called {name!r}; there are {', '.join(STYLES)}."
            + did_you_mean(str(name), STYLES)
        )
    return STYLES[name]


def shortened(text: str, width: int, lines: int = 1) -> str:
    """Wrap ``text`` to ``width`` characters and cut it after ``lines``.

    >>> shortened("y = a_very_long_name*x", 12)
    'y = a_very_…'
    """
    text = "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
    wrapped = textwrap.wrap(text, width, break_on_hyphens=False)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], wrapped[lines - 1][: width - 1] + "…"]
    return "\n".join(wrapped)


def plain(text: Text) -> Text:
    """Take the text as it stands: a user's ``$`` and ``_`` are no mathematics."""
    text.set_usetex(False)
    text.set_parse_math(False)
    return text


def dress(ax: Axes, style: Style, title: str, x: str = "", y: str = "") -> None:
    """Give the axes their title, names, colours and grid."""
    ax.set_facecolor(style.paper)
    ax.grid(True, color=style.grid, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(which="both", colors=style.faint, labelsize=9, length=0)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(style.grid)
    plain(ax.set_title(title, loc="left", fontsize=10.5, color=style.ink))
    if x or y:
        label(ax, style, x, y)


def label(ax: Axes, style: Style, x: str, y: str) -> None:
    """Name both axes."""
    plain(ax.set_xlabel(shortened(x, 48), color=style.faint, fontsize=9.5))
    plain(ax.set_ylabel(shortened(y, 40), color=style.faint, fontsize=9.5))


def legend(
    ax: Axes | Figure,
    style: Style,
    handles: Sequence[Any],
    names: Sequence[str],
    **options: Any,
) -> None:
    """Name what is drawn; every name is shown, also one that begins with an underscore."""
    options = {"loc": "best", "fontsize": 9, "frameon": True, "framealpha": 0.8, **options}
    # matplotlib leaves out labels that begin with an underscore, so the names come after
    box = ax.legend(list(handles), ["x"] * len(names), **options)
    box.get_frame().set(facecolor=style.paper, edgecolor="none")
    for text, name in zip(box.get_texts(), names, strict=True):
        plain(text).set_text(shortened(name, 34))
        text.set_color(style.ink)


def drawable(values: Array) -> Array:
    """Return ``values`` with NaN for what cannot be drawn."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(values) < LARGEST_DRAWN, values, np.nan)


def ramp(colours: Sequence[str]) -> Any:
    """Return the colour map from the first of ``colours`` to the last."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("sgdfit", list(colours))


def scatter(
    ax: Axes, style: Style, x: Array, y: Array, colour: Any = None, grid: Grid | None = None
) -> Any:
    """Draw points, or where there are many their density; return what stands for it in a legend."""
    from matplotlib.colors import LogNorm
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if grid is None and len(x) <= MOST_POINTS:
        size = 26 if len(x) <= 200 else 6
        colour = style.faint if colour is None else colour
        ax.scatter(x, y, s=size, color=colour, alpha=0.75, linewidths=0, zorder=2)
        return Line2D([], [], marker="o", linestyle="", color=style.faint, markersize=5)
    if grid is None:
        grid = Grid(x, y)
        grid.add(x, y)
    across, up, counts = grid.shown()
    colours = ramp(style.ramp)
    ax.pcolormesh(
        across, up, np.ma.masked_equal(counts.T, 0), cmap=colours,
        norm=LogNorm(1, max(2, counts.max())), rasterized=True, zorder=1,
    )  # fmt: skip
    return Patch(color=colours(0.8))
