"""The report of a fit: plain text, a Rich renderable, and HTML for notebooks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from sgdfit.errors import require
from sgdfit.report.contents import MARKS, Facts, Section, facts
from sgdfit.result.rounding import number

if TYPE_CHECKING:
    from sgdfit.result.result import Result
    from sgdfit.result.trace import Trace


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


SHOWN_ROWS = 5  # at each end of a trace

_BLOCK = "color:inherit;background:transparent;line-height:1.45"
_PROSE = f"{_BLOCK};max-width:60em"
_TABLE = f"{_BLOCK};border-collapse:collapse;font-size:inherit;margin:.4em 0"
_CELL = "text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top;background:transparent"
_HEAD = f"{_CELL};border-bottom:1px solid currentColor;font-weight:600"
_LABEL = f"{_CELL};font-weight:normal;opacity:.75;white-space:nowrap"
_FIGURE = f"{_CELL};font-variant-numeric:tabular-nums;white-space:nowrap"
_NUMBER = _FIGURE.replace("text-align:left", "text-align:right")
_NUMBER_HEAD = _HEAD.replace("text-align:left", "text-align:right")
_SCROLL = "overflow-x:auto"  # a wide table scrolls by itself, not with the report
_EDGES = {"good": "#2f9e5f", "caution": "#c98a1b", "bad": "#d6453d"}


def as_html(result: Result) -> str:
    """Lay out the report as one self-contained HTML element; every text is escaped."""
    said = facts(result)
    parts = [
        _status(said),
        _estimates(said),
        *(_section(section) for section in said.sections),
    ]
    return _element("div", _PROSE, "".join(parts))


def trace_as_html(trace: Trace) -> str:
    """Lay out the first and last rows of a trace as one HTML table."""
    columns = trace.columns()
    count = len(trace)
    shown: list[int | None] = list(range(count))
    if count > 2 * SHOWN_ROWS + 1:
        shown = [*range(SHOWN_ROWS), None, *range(count - SHOWN_ROWS, count)]
    head = "".join(_element("th", _NUMBER_HEAD, escape(name), 'scope="col"') for name in columns)
    rows = [
        ["⋮" if i is None else number(column[i].item()) for column in columns.values()]
        for i in shown
    ]
    table = _rows([head, *("".join(_element("td", _NUMBER, c) for c in row) for row in rows)])
    caption = _element("div", "", escape(repr(trace)))
    return _element("div", _BLOCK, caption + _element("div", _SCROLL, table))


def _status(said: Facts) -> str:
    edge = f"border-left:.3em solid {_EDGES[said.level]};padding-left:.8em"
    code = "font-family:monospace;font-size:1.1em;background:transparent;color:inherit"
    formula = _element("code", code, escape(said.formula))
    headline = _element("strong", "", escape(f"{MARKS[said.level]} {said.headline}"))
    blocks = _element("div", "", formula) + _element("div", "", headline)
    return _element("div", edge, blocks + (_lines(said.advice) if said.advice else ""))


def _estimates(said: Facts) -> str:
    head = "".join(_element("th", _HEAD, escape(text), 'scope="col"') for text in said.header)
    table = _rows([head, *(_estimate(row) for row in said.estimates)])
    return _element("div", _SCROLL, table)


def _estimate(row: Sequence[str]) -> str:
    name = _element("th", f"{_CELL};font-weight:600", escape(row[0]), 'scope="row"')
    return name + "".join(_element("td", _FIGURE, escape(cell)) for cell in row[1:])


def _section(section: Section) -> str:
    title = _element("div", "font-weight:600;margin-top:.6em", escape(section.title))
    return title + _lines(section.lines)


def _lines(lines: Iterable[tuple[str, str]]) -> str:
    return _rows(
        _element("th", _LABEL, escape(label), 'scope="row"') + _element("td", _CELL, escape(text))
        for label, text in lines
    )


def _rows(rows: Iterable[str]) -> str:
    # notebooks paint every second row and align right unless told otherwise
    row_style = "background:transparent;border:0"
    return _element("table", _TABLE, "".join(_element("tr", row_style, row) for row in rows))


def _element(tag: str, style: str, content: str, attribute: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f"<{tag}{' ' + attribute if attribute else ''}{styled}>{content}</{tag}>"
