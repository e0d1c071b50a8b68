"""A descent as a moving picture: the curve, step by step, and the way down the loss."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sgdfit.checkpoint.atomic import replacing
from sgdfit.errors import UsageError, require
from sgdfit.plot import figure_class
from sgdfit.plot.landscape import draw_landscape, plot_data, slice_title, window
from sgdfit.plot.style import DASHES, drawable, dress, plain, scatter, shortened, style_of
from sgdfit.plot.views import rows_of
from sgdfit.result.result import Result

ENDINGS = (".gif", ".mp4", ".html")
# Of a moving picture: frames at most, and how many a second, at least.
MOST_FRAMES, A_SECOND = 120, 12
# What moves by itself for longer has to be paused on request, which a .gif cannot (WCAG 2.2.2).
SECONDS = 5.0
GRID = 300
# By how the run ended.
SETTLED = "The curve settles"
TITLES = {"converged": SETTLED, "local_minimum": SETTLED, "diverged": "The curve diverges"}
# What lets a .gif repeat so many times, 0 for ever; without it each reader plays it once.
REPEATED = b"\x21\xff\x0bNETSCAPE2.0\x03\x01%b\x00"
# On buttons, by matplotlib's names of icons.
SIGNS = {
    "minus": "−", "fast-backward": "|◀", "step-backward": "‹", "play fa-flip-horizontal": "◀",
    "pause": "❚❚", "play": "▶", "step-forward": "›", "fast-forward": "▶|", "plus": "+",
}  # fmt: skip


def animate(
    result: Result,
    path: str | os.PathLike[str],
    data: object = None,
    *,
    style: str = "light",
    frames: int = MOST_FRAMES,
    loop: bool | None = None,
) -> None:
    """Write the descent as a moving picture; see `Result.animate`."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"cannot write a moving picture to {str(path)!r}: its ending must be one of"
            f" {', '.join(ENDINGS)}"
        )
    from matplotlib import rc_context
    from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter

    program = _ffmpeg() if ending == ".mp4" else ""
    look, seen = style_of(style), plot_data(result, rows_of(result, data))
    if not seen.is_curve or seen.groups:
        raise UsageError("a moving picture is of a curve over one variable, which this is not")
    trace, names = result.trace, result.free[:2]
    places = np.unique(np.linspace(0, len(trace) - 1, min(frames, len(trace))).astype(int))
    made = figure_class()(figsize=(9.2, 4.2), layout="constrained", facecolor=look.paper)
    title = plain(made.suptitle("", x=0.01, ha="left", fontsize=11, color=look.ink))
    curve, ground = made.subplots(1, 2)
    dress(
        curve,
        look,
        TITLES.get(result.status.name, "The curve, step by step"),
        seen.axis_name,
        seen.response,
    )
    scatter(curve, look, seen.axis, seen.target)
    grid = np.linspace(seen.axis.min(), seen.axis.max(), GRID)
    (line,) = curve.plot([], [], color=look.main, linewidth=2, zorder=4)
    low, high = seen.target.min(), seen.target.max()
    margin = 0.25 * (high - low) or 1.0
    curve.set(xlim=(grid[0], grid[-1]), ylim=(low - margin, high + margin))
    if len(names) == 2:
        dress(ground, look, slice_title(seen, names))
        draw_landscape(seen, names, window(result, names), ground, look)
        columns = [trace.names.index(name) for name in names]
        way = drawable(trace.parameters[:, columns]).T
    else:
        dress(ground, look, "The loss", "step", f"loss ({shortened(result.loss_name, 24)})")
        way = np.stack([trace.step.astype(float), drawable(trace.loss)])
        ground.set(xlim=(0, max(1, way[0].max())), ylim=(0, 1.05 * np.nanmax(way[1])))
    (path_line,) = ground.plot([], [], color=look.other, linewidth=1.6, zorder=3)
    (here,) = ground.plot([], [], marker="o", color=look.other, markersize=7, zorder=5)
    curve.plot(
        grid, drawable(seen.curve(grid, seen.start)), color=look.ink, linewidth=1,
        linestyle=DASHES[1], zorder=3,
    )  # fmt: skip

    def draw(place: int) -> list[Any]:
        at = dict(zip(trace.names, trace.parameters[place].tolist(), strict=True))
        with np.errstate(all="ignore"):
            line.set_data(grid, drawable(seen.curve(grid, {**seen.end, **at})))
        path_line.set_data(*way[:, : place + 1])
        here.set_data(*way[:, place : place + 1])
        values = ", ".join(f"{name} = {value:.4g}" for name, value in at.items())
        loss = trace.loss[place]
        title.set_text(shortened(f"step {trace.step[place]:,}: loss {loss:.4g}, {values}", 100))
        return [line, path_line, here, title]

    draw(int(places[-1]))
    # To lay out each frame anew takes longer than to draw it.
    made.draw_without_rendering()
    made.set_layout_engine("none")
    moving = FuncAnimation(made, draw, frames=places.tolist(), interval=1000 / A_SECOND, blit=False)
    inputs = result.trace.inputs
    if ending == ".html":
        text = _alone(moving.to_jshtml(fps=A_SECOND, default_mode="once"))
        with replacing(path, inputs) as file:
            file.write(text.encode())
        return
    rate = A_SECOND if loop is not None else max(A_SECOND, math.ceil(len(places) / SECONDS))
    writer = PillowWriter(fps=rate) if ending == ".gif" else FFMpegWriter(fps=A_SECOND)
    with replacing(path, inputs) as file:
        # The writers want a name of their own with the ending.
        beside = Path(f"{file.name}{ending}")
        try:
            with rc_context({"animation.ffmpeg_path": program}):
                moving.save(beside, writer=writer, dpi=90)
            file.write(_repeated(beside.read_bytes(), len(places) / rate, loop))
        finally:
            beside.unlink(missing_ok=True)


def _repeated(written: bytes, seconds: float, loop: bool | None) -> bytes:
    """Return a .gif that repeats for ever, not at all, or as often as `SECONDS` allow."""
    again = 0 if loop is False else int(SECONDS / seconds + 1e-9) - 1
    if loop:
        return written
    asked = REPEATED % again.to_bytes(2, "little") if again > 0 else b""
    return written.replace(REPEATED % bytes(2), asked, 1)


def _alone(text: str) -> str:
    """Return matplotlib's page with signs on its buttons, whose icons come from the network."""
    text = re.sub(r"<link[^>]*>", "", text)
    return re.sub(r'<i class="fa fa-([^"]+)"></i>', lambda icon: SIGNS.get(icon[1], "?"), text)


def _ffmpeg() -> str:
    """Return the program ffmpeg: what matplotlib is told of, or else that of imageio-ffmpeg."""
    from matplotlib import rcParams

    path = shutil.which(rcParams["animation.ffmpeg_path"])
    if path is None:
        why = "a .mp4, where the program ffmpeg is not found (a .gif does without),"
        path = require("imageio_ffmpeg", why, "sgdfit[video]").get_ffmpeg_exe()
    return str(path)
