"""Small tables of text, as plain text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

Lines = Sequence[Sequence[str]]


def text_table(lines: Lines) -> str:
    """Return rows of cells in aligned columns, the heads first."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def html_table(lines: Lines) -> str:
    """Return the same as an HTML table; every cell is escaped."""
    tags = ["th", *["td"] * (len(lines) - 1)]
    rows = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
        for tag, line in zip(tags, lines, strict=True)
    )
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
