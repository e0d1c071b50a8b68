"""`sgdfit demo`: the tutorial's fit, told in one screen from runs made there and then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.demo import tutorial
from sgdfit.demo.story import FORMULA, Story, tell
from sgdfit.errors import UsageError
from sgdfit.result.rounding import plus_minus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sgdfit.result.result import Result

__all__ = ["picture", "run"]

FOLDER = Path("demo")
PICTURES = ("light", "dark")
DPI = 84


def run(folder: Path | None, console: Console) -> int:
    """Tell the tutorial's story on ``console`` and write its trace and pictures to ``folder``.

    Parameters
    ----------
    folder : Path or None
        Made where it does not exist; default ``demo`` in the current one.
    console : rich.console.Console
        What the story is printed on.

    Returns
    -------
    int
        The exit status, 0.

    Raises
    ------
    UsageError
        When the folder cannot be written to.
    """
    folder = FOLDER if folder is None else Path(folder)
    _make(folder)
    story = tell()
    for part in _parts(story):
        console.print(part, highlight=False)
    console.print()
    console.print(_written(_write(story, folder)), highlight=False)
    return 0


def _parts(story: Story) -> Iterator[Any]:
    from rich.text import Text

    head = Text(
        "Twenty points, a quadratic, and a learning rate that is a little too large", "bold"
    )
    yield head
    yield Text(_setting())
    yield ""
    yield _comparison(story)
    yield ""
    yield _titled("Why", _reason(story))
    yield ""
    yield _titled("The gradient", _derivation(story))
    yield ""
    yield _titled("The cure", _cure(story))
    yield _answer(story)


def _setting() -> str:
    start = ", ".join(f"{name} = {value:g}" for name, value in tutorial.START.items())
    return (
        f"y = 2x² + 3x + 4 + noise, 20 rows; start {start}; learning rate {tutorial.RATE:g};"
        f" {tutorial.STEPS} steps on all rows; float32, which resolves"
        f" {np.finfo(np.float32).eps:.1e}."
    )


def _comparison(story: Story) -> Table:
    """Set the listing beside what the tutorial printed, figure by figure."""
    from rich.table import Table
    from rich.text import Text

    listing, printed = story.listing_as_printed.trace, story.printed.trace
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    table.add_column("the listing\na·x² + b·x + c", justify="right")
    table.add_column("without c\na·x² + b·x", justify="right")
    table.add_column("the tutorial\nprinted", justify="right")
    table.add_column("relative\ndifference", justify="right")
    for i, (name, quoted) in enumerate(tutorial.PRINTED_GRADIENT.items()):
        ours = float(printed.gradient[0, i]) if name in printed.names else None
        row = _four_decimals(ours, quoted)
        table.add_row(f"∂L/∂{name}", f"{listing.gradient[0, i]:.4f}", *row)
    for k, quoted in enumerate(tutorial.PRINTED_LOSS):
        away = printed.loss[k] / quoted - 1
        row = (f"{printed.loss[k]:.6f}", f"{quoted:.6f}", f"{away:.0e}" if away else "0")
        table.add_row(f"loss {k}", f"{listing.loss[k]:.6f}", *row)
    ends = (story.listing_as_printed.status.label, story.printed.status.label)
    table.add_row("run ends", *(Text(end, "bold") for end in ends))
    return table


def _four_decimals(ours: float | None, quoted: float) -> tuple[str, str, str]:
    """Return a derivative, what was printed of it (four decimals), and whether they agree."""
    if ours is None:
        return "no c", f"{quoted:.4f}", ""
    away = round(ours, 4) - quoted
    return f"{ours:.4f}", f"{quoted:.4f}", f"{away:.0e}" if round(away, 6) else "0"


def _titled(title: str, text: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=12, no_wrap=True)
    grid.add_column()
    grid.add_row(Text(title, "bold"), Text(text))
    return grid


def _reason(story: Story) -> str:
    """Catch the tutorial's slip: what its figures come from, and what the listing does."""
    with_c, without = (_diagnosis(r) for r in (story.listing, story.printed_exactly))
    values = ", ".join(f"{value:.6f}" for value in with_c.eigenvalues)
    return (
        f"The printed figures have ∂L/∂c = {tutorial.PRINTED_GRADIENT['c']:.4f}: no c in model or"
        f" data. There λmax = {without.eigenvalues[-1]:.4f} and the limit 2/λmax ="
        f" {without.stability_limit:.4f}, so {tutorial.RATE:g} converges. The listing has c: the"
        f" curvature's eigenvalues are {values}, the limit 2/λmax = {with_c.stability_limit:.7f}."
        f" Diagnosis: {with_c.notes[0]}"
    )


def _diagnosis(result: Result) -> Any:
    return result.diagnosis


def _derivation(story: Story) -> str:
    """Write the gradient by a as by hand, with its number computed from the rows."""
    x, y = story.data["x"], story.data["y"]
    a, b, c = tutorial.START.values()
    total = float(np.sum((a * x**2 + b * x + c - y) * x**2))
    slope = 2 / len(x) * total
    return (
        f"∂L/∂a = 2/N Σ (ŷᵢ − yᵢ) xᵢ² = 2/{len(x)} · {total:.4f} = {slope:.4f};  a ← {a:g} −"
        f" {tutorial.RATE:g} · {slope:.4f} = {a - tutorial.RATE * slope:.4f}"
    )


def _cure(story: Story) -> str:
    found, best = _diagnosis(story.listing), story.best
    away = max(abs(np.array(list(best.values.values())) - story.solution))
    return (
        f"The recommended rate 2/(λmin + λmax) = {found.fastest_rate:.6f}"
        f" ({found.steps_per_digit:.1f} steps per decimal digit), in float64: {best.status.label}"
        f" after {best.steps} steps, {away:.0e} from what numpy.linalg.lstsq finds."
    )


def _answer(story: Story) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 3, 0, 0))
    for estimate in story.best.estimates.values():
        shown = plus_minus(estimate.value, estimate.stderr)
        table.add_row(" " * 11, f"{estimate.name} = {estimate.value:.8f}", f"{shown}")
    table.add_row("", f"loss {story.best.loss:.12f}", "value ± standard error")
    return table


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to the folder '{folder}': {error.strerror}") from error


def _write(story: Story, folder: Path) -> list[tuple[Path, str]]:
    """Write every file; return what was written and what it is."""
    made = [
        (folder / "tutorial.csv", "the data"),
        (folder / "listing.csv", "the listing's trace, every step"),
        (folder / "best.csv", "the trace at the recommended rate"),
        (folder / "derivation.html", "the gradient, derived by hand"),
        *((folder / f"demo-{style}.png", "this story as a picture") for style in PICTURES),
    ]
    try:
        tutorial.write(made[0][0])
        story.listing.trace.write(made[1][0])
        story.best.trace.write(made[2][0])
        made[3][0].write_text(_page(story), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to the folder '{folder}': {error.strerror}") from error
    for style, (path, _) in zip(PICTURES, made[4:], strict=True):
        picture(path, style, story)
    return made


def _page(story: Story) -> str:
    from sgdfit.fitting.entry import explain

    page: str = explain(FORMULA, story.data, start=tutorial.START).html(page=True)
    return page


def _written(made: list[tuple[Path, str]]) -> Any:

    names = ", ".join(path.name for path, _ in made)
    return _titled("Written", f"to {made[0][0].parent}/: {names}")


def picture(path: Path, style: str = "light", story: Story | None = None) -> None:
    """Draw the story as one wide picture: both losses, both ways over the loss, and the curve.

    Parameters
    ----------
    path : Path
        Ends in ``.png``, ``.svg`` or ``.pdf``.
    style : str
        ``"light"`` or ``"dark"``.
    story : Story, optional
        Default: told anew.

    Raises
    ------
    UsageError
        When the ending or the style is another one, or the file cannot be written.
    """
    from sgdfit import plot
    from sgdfit.demo.panels import picture as draw

    path = plot.checked(path)
    plot.write(draw(tell() if story is None else story, style), path, DPI)
