"""The report of a fit, as plain text and as a Rich renderable."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sgdfit.errors import require
from sgdfit.report.contents import MARKS, Facts, Section, facts

if TYPE_CHECKING:
    from sgdfit.result.result import Result

NARROWEST = 40
_COLOURS = {"good": "green", "caution": "yellow", "bad": "red"}


def as_text(result: Result, width: int = 80) -> str:
    """Lay out the report as plain Unicode text, at most ``width`` columns wide.

    Widths below 40 are taken as 40. There are no colours and no terminal commands in it.
    """
    said = facts(result)
    width = max(width, NARROWEST)
    return "\n".join(_text(said, width))


def _text(said: Facts, width: int) -> Iterator[str]:
    yield from _wrapped(said.formula, width, "    ")
    yield "─" * min(width, len(said.formula))
    yield from _wrapped(f"{MARKS[said.level]} {said.headline}", width, "  ")
    yield from _labelled(said.advice, width)
    yield ""
    yield from _table([said.header, *said.estimates], width)
    for section in said.sections:
        yield ""
        yield from _wrapped(section.title, width, "  ")
        yield from _labelled(section.lines, width)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True
    )


def _labelled(lines: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Write (label, text) lines, the texts below one another; labels that are long stand above."""
    column = max((len(label) for label, _ in lines), default=0)
    column = min(column, 2 * width // 5)
    for label, text in lines:
        if len(label) > column:
            yield from _wrapped(f"  {label}", width, "  ")
            label = ""
        head = f"  {label:<{column}}  "
        yield from _wrapped(head + text, width, " " * len(head)) or [head.rstrip()]


def _table(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Write rows in aligned columns; columns that do not fit stand below their row, labelled."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = _fitting(widths, width)
    for i, row in enumerate(rows):
        cells = (f"{cell:<{w}}" for cell, w in zip(row[:shown], widths, strict=False))
        yield from _wrapped("  " + "  ".join(cells).rstrip(), width, "    ")
        if i:
            for head, cell in zip(rows[0][shown:], row[shown:], strict=True):
                if cell:
                    yield from _wrapped(f"      {head}: {cell}", width, "        ")


def _fitting(widths: Sequence[int], width: int) -> int:
    """Count the columns that fit beside one another; the first one always stands."""
    used = 0
    for count, column in enumerate(widths):
        used += 2 + column
        if used > width and count:
            return count
    return len(widths)


def as_rich(result: Result) -> Any:
    """Lay out the report for a terminal, with Rich.

    Only the terminal's own colours are used, so that it reads on light and dark grounds. Nothing
    in the user's texts is taken as markup.

    Raises
    ------
    MissingDependencyError
        When Rich is not installed.
    """
    console = require("rich.console", "a report in colour")
    said = facts(result)
    parts = [_rich_status(said), _RichEstimates(said)]
    parts += [_rich_section(section) for section in said.sections]
    return console.Group(*parts)


def _rich_status(said: Facts) -> Any:
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    colour = _COLOURS[said.level]
    headline = Text(f"{MARKS[said.level]} {said.headline}", style=f"bold {colour}")
    # inside the panel, for a panel's title is cut off where it does not fit
    body = Group(Text(said.formula, style="bold"), headline, _rich_lines(said.advice))
    return Panel(body, border_style=colour)


def _rich_lines(lines: Sequence[tuple[str, str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    # a label keeps its line; the text beside it wraps
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(Text(label), Text(text))
    return grid


class _RichEstimates:
    """The table of estimates; Rich's own would break numbers where it does not fit."""

    def __init__(self, said: Facts) -> None:
        self._rows = [said.header, *said.estimates]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        yield ""
        for i, line in enumerate(_table(self._rows, options.max_width)):
            yield Text(line, style="" if i else "bold")
        yield ""


def _rich_section(section: Section) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    title = Text(section.title, style="bold")
    return Padding(Group(title, Padding(_rich_lines(section.lines), (0, 0, 0, 2))), (0, 0, 1, 0))
