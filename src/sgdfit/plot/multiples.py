"""Groups of rows side by side: small multiples on common axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgdfit.data.groups import read_groups
from sgdfit.data.levels import label as as_label
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.entry import fit
from sgdfit.plot import axis_names, chosen_log, draw_curve, figure_class, group_name
from sgdfit.plot.landscape import PlotData, plot_data, seen_rows, with_densities
from sgdfit.plot.style import Style, dress, label, legend, plain, scatter, shortened, style_of
from sgdfit.result.fits import Fits, Source
from sgdfit.result.result import Result

Array = np.ndarray[Any, Any]
Groups = str | Sequence[Any]
# A group's name, its fit or why it has none, and its rows.
Panel = tuple[str, Result | str, PlotData]

MOST_PANELS, MOST_COLUMNS = 16, 4
# Where the response spans so many times more in one group than in another, each has its own scale.
MOST_DIFFERENT = 25.0


def plot_groups(
    result: Result, seen: PlotData, groups: Groups, log: str | None, style: str
) -> Array:
    """Draw each group of rows of a fit whose parameters are indexed; see `Result.plot`."""
    count = len(seen.groups)

    def worst() -> Array:
        squares = np.bincount(seen.group_of, (seen.target - seen.predicted) ** 2, count)
        return np.asarray(squares / np.bincount(seen.group_of, minlength=count))

    keys = [tuple(seen.names(seen.groups[k]).values()) for k in range(count)]
    chosen, said = _chosen(groups, count, worst, lambda: keys)
    if seen.source is not None:
        said += f"; {len(seen.target):,} of {seen.source.rows:,} rows"
    panels = [(group_name(seen, k), result, seen.part(k)) for k in chosen]
    return _draw(panels, result.formula, said, log, style_of(style))


def plot_fits(
    fits: Fits, groups: Groups = "first", *, log: str | None = None, style: str = "light"
) -> Array:
    """Draw groups of rows, each with its own fit; see `Fits.plot`."""
    source = fits.source
    if source is None or (source.table.dataset is not None and not source.table.dataset.again):
        raise UsageError(
            "these fits do not know their rows, which came from elsewhere or could be read once;"
            " fit them from arrays or from a file to draw them"
        )

    def worst() -> Array:
        return np.where(fits.status == "error", np.inf, fits.residual_standard_error)

    def keys() -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in fits.groups.to_pylist()]

    chosen, said = _chosen(groups, len(fits), worst, keys)
    rows = dict[int, dict[str, Array]]()
    by = fits.groups.column_names
    for part in read_groups(source.table, source.names, by, source.missing, source.budget):
        places = {first: place for place, first in enumerate(part.first.tolist())}
        found = {k: places.get(int(fits.first[k])) for k in chosen}
        rows |= {k: part.of(place) for k, place in found.items() if place is not None}
    panels = [_panel(fits, source, k, rows[k]) for k in chosen]
    return _draw(panels, fits.formula, said, log, style_of(style))


def _panel(fits: Fits, source: Source, k: int, rows: dict[str, Array]) -> Panel:
    """Return a group, fitted once more from where its fit ended, which tells its bands."""
    key = fits.groups.slice(k, 1).to_pylist()[0]
    name = ", ".join(f"{column} {as_label(value)}" for column, value in key.items())
    status, options, ones = fits.status[k], source.options, np.ones(len(next(iter(rows.values()))))
    end = dict(zip(fits.names, fits.values[k].tolist(), strict=True))
    if status == "error":
        seen = seen_rows(source.model, rows, end, ones, source.table.scales)
        return name, f"no fit: {fits.cause[k]}", seen
    if status != "converged":
        name = f"{name}: {status.replace('_', ' ')}"
    elif options.get("optimizer") is None:  # else it is repeated as it was
        options = options | {"start": end}
    result = fit(data=rows, **options)
    seen = plot_data(result, rows)
    # Where it began tells nothing here.
    return name, result, seen._replace(start=seen.end, scales=source.table.scales)


def _chosen(
    groups: Groups,
    count: int,
    worst: Callable[[], Array],
    keys: Callable[[], list[tuple[Any, ...]]],
) -> tuple[list[int], str]:
    """Return which groups to draw, and the sentence that says so where some are left out."""
    told = ""
    if groups == "first":
        chosen, told = list(range(min(count, MOST_PANELS))), "the first in the data"
    elif groups == "worst":
        chosen = np.argsort(-worst(), kind="stable")[:MOST_PANELS].tolist()
        told = "those with the largest residuals"
    elif isinstance(groups, str) or not isinstance(groups, Sequence):
        raise UsageError(
            f"groups is {groups!r}; write 'first', 'worst' or a list of groups, as in ['A', 'B']"
        )
    else:
        known = {_text(key): k for k, key in enumerate(keys())}
        asked = [_text(key if isinstance(key, tuple | list) else (key,)) for key in groups]
        for text in asked:
            if text not in known:
                raise UsageError(f"there is no group {text!r}.{did_you_mean(text, known)}")
        if not 1 <= len(set(asked)) <= MOST_PANELS:
            raise UsageError(
                f"groups names {len(set(asked))} groups; 1 to {MOST_PANELS} are drawn at once"
            )
        chosen, told = [known[text] for text in dict.fromkeys(asked)], "those asked for"
    if len(chosen) == count:
        return chosen, f"all {count} groups"
    are = "is" if len(chosen) == 1 else "are"
    return chosen, f"{len(chosen)} of {count:,} groups {are} shown: {told}"


def _text(key: Sequence[Any]) -> str:
    return ", ".join(map(as_label, key))


def _draw(panels: Sequence[Panel], formula: str, said: str, log: str | None, look: Style) -> Array:
    """Draw panels on common axes; return those, in the order of the panels."""
    columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(panels))))
    lines = math.ceil(len(panels) / columns)
    size = (max(5.0, 2.6 * columns + 0.8), 2.1 * lines + 1.5)
    made = figure_class()(figsize=size, layout="constrained", facecolor=look.paper)
    spans = np.array([np.ptp(seen.target) for _, _, seen in panels])
    common = spans.max() <= MOST_DIFFERENT * np.median(spans)
    grid = made.subplots(lines, columns, sharex=True, sharey=common, squeeze=False).ravel()
    axes, limits, handles = grid[: len(panels)], [], dict[str, Any]()
    for ax in grid[len(panels) :]:
        ax.set_visible(False)
    for k, (ax, (name, result, seen)) in enumerate(zip(axes, panels, strict=True)):
        last, (x, y) = k >= len(axes) - columns, axis_names(seen)
        dress(ax, look, shortened(name, 34))
        label(ax, look, x if last else "", y if k % columns == 0 else "")
        ax.tick_params(labelbottom=last)  # also above an empty place
        if isinstance(result, str):
            scatter(ax, look, seen.axis, seen.target)
            place = {"transform": ax.transAxes, "va": "top", "fontsize": 8, "color": look.other}
            plain(ax.text(0.03, 0.97, shortened(result, 38, 5), **place))
            low, room = seen.target.min(), np.ptp(seen.target) or 1.0
            limits.append((low - 0.1 * room, low + 1.9 * room))  # the text stands above the points
            continue
        (seen,) = with_densities([seen], [chosen_log(seen, log)])
        drawn = draw_curve(result, seen, ax, look, log)
        handles |= dict(zip(("rows", *[*drawn.handles][1:]), drawn.handles.values(), strict=True))
        limits.append(drawn.limits)
    whole = np.min(limits, axis=0)[0], np.max(limits, axis=0)[1]
    for ax, extent in zip(axes, limits, strict=True):
        ax.set_ylim(*(whole if common else extent))
    wide, own = max(50, 30 * columns), "" if common else "; each has its own scale"
    heading = f"{shortened(formula, wide, 2)}\n{shortened(said + own, wide, 2)}"
    plain(made.suptitle(heading, x=0.01, ha="left", fontsize=11, color=look.ink))
    if handles:
        below: dict[str, Any] = {"loc": "outside lower left", "ncols": 5 if columns > 2 else 2}
        legend(made, look, [*handles.values()], [*handles], **below)
    return axes  # as a notebook shows them
