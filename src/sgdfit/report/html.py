"""The report of a fit and its trace as HTML for notebooks, without script or style sheet.

Every colour is the page's own (``currentColor``) or a line in a middle tone, so that it reads on
light and dark pages; styles stand in the elements, since many viewers drop style sheets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from sgdfit.report.contents import MARKS, Facts, Section, facts
from sgdfit.result.rounding import number

if TYPE_CHECKING:
    from sgdfit.result.result import Result
    from sgdfit.result.trace import Trace

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
