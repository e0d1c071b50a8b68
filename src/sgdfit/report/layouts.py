"""The report of a fit: plain text, a Rich renderable, and HTML for notebooks."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from sgdfit.errors import require
from sgdfit.report.contents import MARKS, facts
from sgdfit.result.result import Result
from sgdfit.result.rounding import number
from sgdfit.result.trace import Trace

NARROWEST = 40
SHOWN_ROWS = 5  # at each end of a trace
_COLOURS = {"good": "green", "caution": "yellow", "bad": "red"}


def as_text(result: Result, width: int = 80) -> str:
    """Lay out the report as plain Unicode text, at most ``width`` columns wide.

    Widths below 40 are taken as 40. There are no colours and no terminal commands in it.
    """
    said, width = facts(result), max(width, NARROWEST)
    lines = [
        *_wrapped(said.formula, width, "    "),
        "─" * min(width, len(said.formula)),
        *_wrapped(f"{MARKS[said.level]} {said.headline}", width, "  "),
        *_labelled(said.advice, width),
        "",
        *_table([said.header, *said.estimates], width),
    ]
    for section in said.sections:
        lines += ["", *_wrapped(section.title, width, "  "), *_labelled(section.lines, width)]
    return "\n".join(lines)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


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
    # the first column always stands
    reach = list(itertools.accumulate(2 + each for each in widths))
    shown = max(1, sum(used <= width for used in reach))
    for i, row in enumerate(rows):
        cells = (f"{cell:<{w}}" for cell, w in zip(row[:shown], widths, strict=False))
        yield from _wrapped("  " + "  ".join(cells).rstrip(), width, "    ")
        if i:
            for head, cell in zip(rows[0][shown:], row[shown:], strict=True):
                if cell:
                    yield from _wrapped(f"      {head}: {cell}", width, "        ")


def as_rich(result: Result) -> Any:
    """Lay out the report for a terminal, with Rich.

    Only the terminal's own colours are used, so that it reads on light and dark grounds. Nothing
    in the user's texts is taken as markup.

    Raises
    ------
    MissingDependencyError
        When Rich is not installed.
    """
    group = require("rich.console", "a report in colour").Group
    from rich.padding import Padding
    from rich.panel import Panel
    from rich.text import Text

    said = facts(result)
    colour = _COLOURS[said.level]
    headline = Text(f"{MARKS[said.level]} {said.headline}", style=f"bold {colour}")
    # inside the panel, for a panel's title is cut off where it does not fit
    body = group(Text(said.formula, style="bold"), headline, _rich_lines(said.advice))
    parts = [Panel(body, border_style=colour), _RichTable([said.header, *said.estimates])]
    for section in said.sections:
        lines = Padding(_rich_lines(section.lines), (0, 0, 0, 2))
        parts.append(Padding(group(Text(section.title, style="bold"), lines), (0, 0, 1, 0)))
    return group(*parts)


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


class _RichTable:
    """The table of estimates; Rich's own would break numbers where it does not fit."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        yield ""
        for i, line in enumerate(_table(self._rows, options.max_width)):
            yield Text(line, style="" if i else "bold")
        yield ""


_BLOCK = "color:inherit;background:transparent;line-height:1.45"
_PROSE = f"{_BLOCK};max-width:60em"
_TABLE = f"{_BLOCK};border-collapse:collapse;font-size:inherit;margin:.4em 0"
# notebooks paint every second row and align right unless told otherwise
_ROW = "background:transparent;border:0"
_CELL = "text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top;background:transparent"
_HEAD = f"{_CELL};border-bottom:1px solid currentColor;font-weight:600"
_LABEL = f"{_CELL};font-weight:normal;opacity:.75;white-space:nowrap"
_FIGURE = f"{_CELL};font-variant-numeric:tabular-nums;white-space:nowrap"
_NUMBER = _FIGURE.replace("text-align:left", "text-align:right")
_NUMBER_HEAD = _HEAD.replace("text-align:left", "text-align:right")
_SCROLL = "overflow-x:auto"  # a wide table scrolls by itself, not with the report
_CODE = "font-family:monospace;font-size:1.1em;background:transparent;color:inherit"
_EDGES = {"good": "#2f9e5f", "caution": "#c98a1b", "bad": "#d6453d"}


def as_html(result: Result) -> str:
    """Lay out the report as one self-contained HTML element; every text is escaped."""
    said = facts(result)
    edge = f"border-left:.3em solid {_EDGES[said.level]};padding-left:.8em"
    formula = _element("code", _CODE, escape(said.formula))
    headline = _element("strong", "", escape(f"{MARKS[said.level]} {said.headline}"))
    status = _element("div", "", formula) + _element("div", "", headline)
    status += _labelled_rows(said.advice) if said.advice else ""
    bold = f"{_CELL};font-weight:600"
    rows = [_cells("th", _HEAD, said.header, 'scope="col"')]
    for name, *figures in said.estimates:
        rows.append(_cells("th", bold, [name], 'scope="row"') + _cells("td", _FIGURE, figures))
    parts = [_element("div", edge, status), _element("div", _SCROLL, _rows(rows))]
    for section in said.sections:
        title = escape(section.title)
        parts.append(_element("div", "font-weight:600;margin-top:.6em", title))
        parts.append(_labelled_rows(section.lines))
    return _element("div", _PROSE, "".join(parts))


def trace_as_html(trace: Trace) -> str:
    """Lay out the first and last rows of a trace as one HTML table."""
    columns, count = trace.columns(), len(trace)
    shown: list[int | None] = list(range(count))
    if count > 2 * SHOWN_ROWS + 1:
        shown = [*range(SHOWN_ROWS), None, *range(count - SHOWN_ROWS, count)]
    rows = [_cells("th", _NUMBER_HEAD, columns, 'scope="col"')]
    for i in shown:
        figures = ["⋮" if i is None else number(c[i].item()) for c in columns.values()]
        rows.append(_cells("td", _NUMBER, figures))
    caption = _element("div", "", escape(repr(trace)))
    return _element("div", _BLOCK, caption + _element("div", _SCROLL, _rows(rows)))


def _labelled_rows(lines: Iterable[tuple[str, str]]) -> str:
    return _rows(
        _cells("th", _LABEL, [label], 'scope="row"') + _cells("td", _CELL, [text])
        for label, text in lines
    )


def _rows(rows: Iterable[str]) -> str:
    return _element("table", _TABLE, "".join(_element("tr", _ROW, row) for row in rows))


def _cells(tag: str, style: str, texts: Iterable[str], attribute: str = "") -> str:
    return "".join(_element(tag, style, escape(text), attribute) for text in texts)


def _element(tag: str, style: str, content: str, attribute: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f"<{tag}{' ' + attribute if attribute else ''}{styled}>{content}</{tag}>"
