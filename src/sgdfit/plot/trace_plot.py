"""Plots of a trace: the loss and the parameters, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.plot.drawing import DASHES, Style, dress, finite, label, legend, shortened, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sgdfit.result.result import Result

__all__ = ["loss_curve", "parameter_paths"]

Array = np.ndarray[Any, Any]

BLOCKS = 100  # means that show through the noise of batches
NAMED = 8  # parameters that a legend has room for


def loss_curve(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw the loss against the step, on a log axis where it spans more than two decades.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> import sgdfit
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2], "y": [2, 4]}, learning_rate=0.1, steps=5)
    >>> ax = Figure().subplots()
    >>> loss_curve(fit, ax)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()
    ('step', 'loss (mse)', 'log')
    """
    look = style_of(style)
    dress(ax, look, _loss_title(result))
    step, loss = result.trace.step, finite(result.trace.loss)
    if result.batch_size is None or len(loss) <= BLOCKS:
        ax.plot(step, loss, color=look.main, linewidth=1.6, **_dots(loss))
    else:
        _draw_noisy(ax, look, step, loss)
    if _spans(loss):
        ax.set_yscale("log")
    _mark_broken(ax, look, step, loss)
    _label_steps(ax, look, f"loss ({shortened(result.loss_name, 24)})")


def _loss_title(result: Result) -> str:
    found, rates = result.diagnosis, result.trace.learning_rate
    if found is None or found.stability_limit is None or (found.growth_factor or 0) <= 1:
        return "Loss: the run diverged" if result.status.name == "diverged" else "Loss"
    where = "limit at the start" if found.local else "limit 2/λmax"
    return f"Loss: rate {rates[0]:.4g} is above the {where} = {found.stability_limit:.4g}"


def _dots(values: Array) -> dict[str, Any]:
    """Show single steps where there is room for them."""
    return {"marker": "o", "markersize": 3.5} if len(values) <= 60 else {}


def _draw_noisy(ax: Axes, look: Style, step: Array, loss: Array) -> None:
    """Draw the loss of each batch thinly, and above it the mean of each 1% of them."""
    (each,) = ax.plot(step, loss, color=look.main, linewidth=0.6, alpha=0.6)
    blocks = [block[np.isfinite(block)] for block in np.array_split(loss, BLOCKS)]
    middles = [block.mean() for block in np.array_split(step, BLOCKS)]
    means = [block.mean() if len(block) else np.nan for block in blocks]
    (mean,) = ax.plot(middles, means, color=look.other, linewidth=1.8)
    legend(ax, look, [each, mean], ["each batch", "mean of each 1%"])


def _spans(values: Array) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() > 100)


def _mark_broken(ax: Axes, look: Style, step: Array, values: Array) -> None:
    """Say where the numbers end."""
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return
    first = step[bad[0]]
    ax.axvline(first, color=look.other, linestyle=DASHES[1], linewidth=1.2)
    ax.annotate(
        f"not finite from step {first:,}", (first, 0.97), xycoords=("data", "axes fraction"),
        xytext=(-4, 0), textcoords="offset points", ha="right", va="top", fontsize=9,
        color=look.other,
    )  # fmt: skip


def _label_steps(ax: Axes, look: Style, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label(ax, look, "step", y)


def parameter_paths(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw every free parameter against the step.

    Where one axis would not show how each moves, their distances from their ends are drawn, each
    as a share of its largest.
    """
    look, trace = style_of(style), result.trace
    paths = finite(trace.parameters).T
    alike = _alike(paths)
    dress(ax, look, "Parameters" if alike else "Parameters: distance from their ends")
    lines = []
    for i, path in enumerate(paths if alike else map(_share, paths)):
        colour, dashes = look.cycle[i % len(look.cycle)], DASHES[i % len(DASHES)]
        lines += ax.plot(trace.step, path, color=colour, linestyle=dashes, linewidth=1.5)
    names = list(trace.names[:NAMED])
    if len(trace.names) > NAMED:
        names[-1] += f" … {trace.names[-1]}"
    legend(ax, look, lines[:NAMED], names, ncols=1 if len(names) <= 4 else 2)
    _mark_broken(ax, look, trace.step, paths.sum(axis=0))
    _label_steps(ax, look, "value" if alike else "share of the largest distance")


def _alike(paths: Array) -> bool:
    """Whether one axis shows how each path moves."""
    known = [path[np.isfinite(path)] for path in paths]
    moved = np.array([np.ptp(path) for path in known if len(path)])
    every = np.concatenate(known)
    return bool(np.all((moved > 0.1 * np.ptp(every)) | (moved == 0))) if len(every) else True


def _share(path: Array) -> Array:
    known = path[np.isfinite(path)]
    away = path - known[-1] if len(known) else path
    largest = np.max(np.abs(away[np.isfinite(away)]), initial=0)
    return away / largest if largest > 0 else away
