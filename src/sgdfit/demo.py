"""`sgdfit demo`: a tutorial's fit, told in one screen from runs made there and then.

Its twenty points are made bit for bit as torch makes them, and what it printed is quoted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.errors import UsageError
from sgdfit.fitting.entry import explain, fit
from sgdfit.result.result import Result
from sgdfit.result.rounding import plus_minus

if TYPE_CHECKING:
    from rich.console import Console

FORMULA, WITHOUT_CONSTANT = "y = a*x**2 + b*x + c", "y = a*x**2 + b*x"
START = {"a": 4.0, "b": 5.0, "c": 7.0}
RATE, STEPS = 0.23, 10
PRINTED_GRADIENT = {"a": 11.2822, "b": 6.9424, "c": 0.0}
PRINTED_LOSS = (
    23.300430297851562,
    12.930697441101074,
    10.261430740356445,
    8.984521865844727,
    8.224483489990234,
    7.7517900466918945,
    7.455584526062012,
    7.269739627838135,
    7.153112888336182,
    7.079920768737793,
)


def points(*, constant: bool = True) -> dict[str, NDArray[np.float32]]:
    """Return the tutorial's data: y = 2x² + 3x + 4 + noise, drawn evenly between -5 and 5.

    float32[20] each. The figures that the tutorial prints come from points without the 4.

    Examples
    --------
    >>> data = points()
    >>> data["x"][:2].tolist(), data["y"][:1].tolist()
    ([-2.0, -1.7894736528396606], [9.82269287109375])
    """
    # as torch.linspace on any processor with fused multiply-add: from both ends, rounded once
    step, i, one = float(np.float32(4) / np.float32(19)), np.arange(20), np.float32(1)
    x = np.where(i < 10, -2 + step * i, 2 - step * (19 - i)).astype(np.float32)
    # as torch.rand on a CPU: 24 bits of each draw of the Mersenne twister
    draws = np.random.RandomState(42).randint(0, 2**32, 20, dtype=np.uint32)
    noise = ((draws & 0xFFFFFF) / 2**24).astype(np.float32) * 10 * one - 5 * one
    curve = 2 * one * x**2 + 3 * one * x
    return {"x": x, "y": (curve + 4 * one if constant else curve) + noise}


class Story(NamedTuple):
    """The runs that the demo tells of."""

    data: dict[str, NDArray[Any]]  # the points, as the listing makes them, float64[20]
    listing: Result  # as it stands, in float64
    # The listing, and the model without c whose figures the tutorial prints, in float32.
    listing_as_printed: Result
    printed: Result
    printed_exactly: Result  # the same in float64
    best: Result  # the listing at the recommended rate


def tell() -> Story:
    """Run every fit of the story."""
    data, bare = (
        {name: column.astype(np.float64) for name, column in points(constant=constant).items()}
        for constant in (True, False)
    )

    def run(formula: str, **options: Any) -> Result:
        start = {name: START[name] for name in ("abc" if formula == FORMULA else "ab")}
        options = {"learning_rate": RATE, "steps": STEPS, **options}
        # no warning before the run: the story itself tells why it diverges
        silent: Any = {"announce": lambda diagnosis: None}
        return fit(formula, data if formula == FORMULA else bare, start=start, **silent, **options)

    listing = run(FORMULA)
    assert listing.diagnosis is not None  # of textbook descent
    return Story(
        data=data,
        listing=listing,
        listing_as_printed=run(FORMULA, dtype="float32"),
        printed=run(WITHOUT_CONSTANT, dtype="float32"),
        printed_exactly=run(WITHOUT_CONSTANT),
        best=run(
            FORMULA, learning_rate=listing.diagnosis.fastest_rate, steps=1_000, tolerance=1e-10
        ),
    )


def run(folder: Path, console: Console) -> int:
    """Tell the story on ``console``, write its files to ``folder``, and return the exit status.

    Raises
    ------
    UsageError
        When the folder cannot be made or written to.
    """
    story = tell()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = ", ".join(_write(story, folder))
    except OSError as error:
        raise UsageError(f"cannot write to the folder '{folder}': {error.strerror}") from error
    for part in _parts(story, f"to {folder}/: {written}"):
        console.print(part, highlight=False)
    return 0


def _parts(story: Story, written: str) -> Iterator[Any]:
    from rich.table import Table
    from rich.text import Text

    def titled(title: str, text: str) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=12, no_wrap=True)
        grid.add_column()
        grid.add_row(Text(title, "bold"), Text(text))
        return grid

    yield Text("Twenty points, a quadratic, and a learning rate that is a little too large", "bold")
    start = ", ".join(f"{name} = {value:g}" for name, value in START.items())
    yield Text(
        f"y = 2x² + 3x + 4 + noise, 20 rows; start {start}; learning rate {RATE:g}; {STEPS} steps"
        f" on all rows; float32, which resolves {np.finfo(np.float32).eps:.1e}.\n"
    )
    yield from (_comparison(story), "")
    # the tutorial's slip: what its figures come from, and what the listing does
    found, without = story.listing.diagnosis, story.printed_exactly.diagnosis
    assert found is not None
    assert without is not None
    values = ", ".join(f"{value:.6f}" for value in found.eigenvalues)
    yield titled(
        "Why",
        f"The printed figures have ∂L/∂c = {PRINTED_GRADIENT['c']:.4f}: no c in model or"
        f" data. There λmax = {without.eigenvalues[-1]:.4f} and the limit 2/λmax ="
        f" {without.stability_limit:.4f}, so {RATE:g} converges. The listing has c: the"
        f" curvature's eigenvalues are {values}, the limit 2/λmax = {found.stability_limit:.7f}."
        f" Diagnosis: {found.notes[0]}",
    )
    yield ""
    (x, y), (a, b, c), best = story.data.values(), START.values(), story.best
    total = float(np.sum((a * x**2 + b * x + c - y) * x**2))
    slope = 2 / len(x) * total
    yield titled(
        "The gradient",
        f"∂L/∂a = 2/N Σ (ŷᵢ − yᵢ) xᵢ² = 2/{len(x)} · {total:.4f} = {slope:.4f};  a ← {a:g} −"
        f" {RATE:g} · {slope:.4f} = {a - RATE * slope:.4f}",
    )
    yield ""
    solution = np.linalg.lstsq(np.stack([x**2, x, np.ones_like(x)], axis=1), y)[0]
    away = max(abs(np.array(list(best.values.values())) - solution))
    yield titled(
        "The cure",
        f"The recommended rate 2/(λmin + λmax) = {found.fastest_rate:.6f}"
        f" ({found.steps_per_digit:.1f} steps per decimal digit), in float64: {best.status.label}"
        f" after {best.steps} steps, {away:.0e} from what numpy.linalg.lstsq finds.",
    )
    answer = Table.grid(padding=(0, 3, 0, 0))
    for estimate in best.estimates.values():
        shown = plus_minus(estimate.value, estimate.stderr)
        answer.add_row(" " * 11, f"{estimate.name} = {estimate.value:.8f}", shown)
    answer.add_row("", f"loss {best.loss:.12f}", "value ± standard error")
    yield from (answer, "", titled("Written", written))


def _comparison(story: Story) -> Any:
    """Set the listing beside what the tutorial printed, figure by figure."""
    from rich.table import Table
    from rich.text import Text

    listing, printed = story.listing_as_printed.trace, story.printed.trace
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    models = ("the listing\na·x² + b·x + c", "without c\na·x² + b·x")
    for head in (*models, "the tutorial\nprinted", "relative\ndifference"):
        table.add_column(head, justify="right")
    for i, (name, quoted) in enumerate(PRINTED_GRADIENT.items()):
        ours, away = "no c", ""
        if name in printed.names:
            found = float(printed.gradient[0, i])
            # four decimals were printed
            difference = round(found, 4) - quoted
            ours, away = f"{found:.4f}", f"{difference:.0e}" if round(difference, 6) else "0"
        table.add_row(f"∂L/∂{name}", f"{listing.gradient[0, i]:.4f}", ours, f"{quoted:.4f}", away)
    for k, quoted in enumerate(PRINTED_LOSS):
        difference = printed.loss[k] / quoted - 1
        losses = (f"{loss:.6f}" for loss in (listing.loss[k], printed.loss[k], quoted))
        table.add_row(f"loss {k}", *losses, f"{difference:.0e}" if difference else "0")
    ends = (story.listing_as_printed.status.label, story.printed.status.label)
    table.add_row("run ends", *(Text(end, "bold") for end in ends))
    return table


def _write(story: Story, folder: Path) -> Iterator[str]:
    """Write every file, and yield its name: points, traces, the gradient by hand, pictures."""
    from sgdfit import plot

    # every digit of them
    rows = zip(*(column.tolist() for column in story.data.values()), strict=True)
    with open(folder / "tutorial.csv", "w", encoding="utf-8", newline="") as file:
        file.writelines(["x,y\n", *(f"{x!r},{y!r}\n" for x, y in rows)])
    yield "tutorial.csv"
    for name, result in (("listing.csv", story.listing), ("best.csv", story.best)):
        result.trace.write(folder / name)
        yield name
    page = explain(FORMULA, story.data, start=START).html(page=True)
    (folder / "derivation.html").write_text(page, encoding="utf-8")
    yield "derivation.html"
    for style in ("light", "dark"):
        plot.write(demo_figure(story, style), folder / f"demo-{style}.png", 84)
        yield f"demo-{style}.png"


def demo_figure(story: Story, style: str = "light") -> Any:
    """Return both losses, both ways over the loss, and the curve as a figure of matplotlib."""
    from matplotlib.figure import Figure

    from sgdfit.plot import fitted_curve
    from sgdfit.plot.landscape import draw_ends, draw_landscape, draw_path, plot_data, window
    from sgdfit.plot.style import DASHES, dress, label, legend, style_of

    look, bad, best = style_of(style), story.listing, story.best
    made = Figure(figsize=(13.5, 4.3), layout="constrained", facecolor=look.paper)
    losses, ways, curve = made.subplots(1, 3, width_ratios=(1, 1.05, 1))
    rates = [f"rate {run.trace.learning_rate[0]:.4g}" for run in (bad, best)]
    assert bad.diagnosis is not None
    dress(losses, look, f"Above 2/λmax = {bad.diagnosis.stability_limit:.4g} the loss grows …")
    some, drawn = slice(bad.steps + 1), []
    for trace, colour, mark, dashes in (
        (bad.trace, look.other, "o", DASHES[1]),
        (best.trace, look.main, "s", "-"),
    ):
        way: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": dashes}
        drawn += losses.plot(trace.step[some], trace.loss[some], lw=1.7, markersize=4.5, **way)
    drawn.append(losses.axhline(best.loss, color=look.faint, linewidth=1, linestyle=DASHES[2]))
    losses.set_yscale("log")
    losses.set_yticks(ticks := [5, 10, 20, 50, 100], list(map(str, ticks)))
    losses.minorticks_off()
    names = [*rates, "least squares"]
    legend(losses, look, drawn, names, loc="center right", bbox_to_anchor=(1, 0.6))
    label(losses, look, "step", "loss (mse)")
    dress(ways, look, "… its steps leap out of the valley, the others settle …")
    plane = ("a", "c")
    extents = np.array([window(result, plane) for result in (bad, best)])
    lows, highs = extents[:, :, 0].min(axis=0), extents[:, :, 1].max(axis=0)
    view = tuple(zip(lows.tolist(), highs.tolist(), strict=True))
    draw_landscape(plot_data(best, story.data), plane, view, ways, look)
    lost = draw_path(bad, plane, ways, look.other, linestyle=DASHES[1])
    found = draw_path(best, plane, ways, look.main, marker="s")
    ends = draw_ends(best, plane, ways, look)
    legend(ways, look, [lost, found, *ends], [*rates, "start", "least squares"], loc="upper left")
    fitted_curve(best, story.data, curve, style)
    dress(curve, look, "… on the least-squares curve")
    return made
