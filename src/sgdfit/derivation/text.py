"""A derivation as text for a terminal: fractions stacked, powers raised, long sums broken."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from sgdfit.derivation.notation import (
    MINUS,
    Box,
    Equation,
    Math,
    Step,
    Table,
    beside,
    columns,
    filled,
    leading_sign,
    padded,
)

INDENT = 4
NARROWEST = 24
# Where a line may be broken: before the sign of a sum, behind any other.
_BREAKS = re.compile(r"(?P<sum> [+−] )|(?P<product>[·/] ?| (?=∑))| [=<>≤≥≠] | and | or |; ")


def render(steps: Sequence[Step], width: int) -> str:
    """Return the steps as text, no line longer than ``width`` where that can be had."""
    width = max(width, NARROWEST)
    blocks = [_step(f"{i}  ", step, width) for i, step in enumerate(steps, 1)]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks)


def _step(number: str, step: Step, width: int) -> list[str]:
    lines = textwrap.wrap(number + step.title, width, subsequent_indent=" " * len(number))
    lines += _prose(step.says, width)
    drawn = [_equation(equation, width - INDENT) for equation in step.equations]
    airy = any(len(block) > 1 for block in drawn)
    for i, block in enumerate(drawn):
        lines += [""] if i == 0 or airy else []
        lines += [" " * INDENT + line for line in block]
    if step.table:
        lines += ["", *_table(step.table, width)]
    if step.remark:
        lines += ["", *_prose(step.remark, width)]
    return lines


def _prose(parts: Sequence[str | Math], width: int) -> list[str]:
    # A formula stays in one piece: its spaces are not places to break.
    text = "".join(p if isinstance(p, str) else p.line.replace(" ", "\u00a0") for p in parts)
    lines = textwrap.wrap(text, max(width - 3, NARROWEST), break_on_hyphens=False)
    return [f"   {line}".replace("\u00a0", " ") for line in lines]


def _equation(equation: Equation, width: int) -> Sequence[str]:
    """Draw a chain on one line where it fits, else one line for each of its parts."""
    left, sign = equation.left.box, f" {equation.sign} "
    if equation.sign == "←":
        return [equation.left.line + sign + equation.rights[0].line]
    note = [f"   {equation.note}"] if equation.note else []
    whole = beside([left, *(x for right in equation.rights for x in (sign, right.box)), *note])
    if columns(whole.lines[0]) <= width:
        return whole.lines
    room = width - equation.left.width - 3
    hanging = room < NARROWEST  # a left side so long leaves no room beside it
    lines = list(left.lines) if hanging else []
    for i, right in enumerate(equation.rights):
        block = _fitted(right, width - 5 if hanging else room)
        head = "  " if hanging else " " * equation.left.width if i else left
        lines += [""] if i and len(block.lines) > 1 else []
        lines += beside([head, sign, block]).lines
    return [*lines, *note]


def _fitted(part: Math, width: int) -> Box:
    """Draw within ``width``: whole, else its terms on several lines, else in one broken line."""
    if part.width <= width:
        return part.box
    if part.kind != "sum":
        return filled(_wrapped(part.line, width))
    blocks: list[Box] = []
    for i, (sign, term) in enumerate(part.parts):
        drawn = beside([leading_sign(sign, i == 0).replace("-", MINUS), _fitted(term, width - 4)])
        if blocks and columns((blocks[-1].lines + drawn.lines)[0] + drawn.lines[0]) <= width:
            blocks[-1] = beside([blocks[-1], drawn])
        else:
            blocks.append(beside([" ", drawn]) if blocks else drawn)
    airy = any(len(block.lines) > 1 for block in blocks)
    lines: list[str] = []
    for i, block in enumerate(blocks):
        lines += ([""] if i and airy else []) + list(block.lines)
    return filled(lines, blocks[0].base)


def _wrapped(line: str, width: int) -> list[str]:
    """Break a line, outside of brackets where that leaves it at least half full."""
    lines = []
    while columns(line) > width:
        at = _best_break(line, width)
        lines.append(line[:at].rstrip())
        line = "  " + line[at:].lstrip()
    return [*lines, line]


def _best_break(line: str, width: int) -> int:
    depth = used = 0
    places: list[tuple[float, int, int]] = []
    breaks = {
        match.start() if match["sum"] else match.end(): bool(match["product"])
        for match in _BREAKS.finditer(line)
    }
    for at, character in enumerate(line):
        if at in breaks and used > 2:
            badness = depth + 0.5 * (used < width / 2) + 0.7 * breaks[at]
            places.append((badness, -used, at))
        depth += (character in "([{") - (character in ")]}")
        used += columns(character)
        if used > width:
            break
    return min(places)[2] if places else at  # a name longer than the line is cut


def _table(table: Table, width: int) -> list[str]:
    rows = [table.header, *([_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    total = sum(widths) + 2 * len(widths) - 2
    margin = " " * INDENT
    if total + INDENT <= width:
        lines = []
        for first, *others in rows:
            cells = [padded(cell, w, ">") for cell, w in zip(others, widths[1:], strict=True)]
            lines.append(margin + "  ".join([padded(first, widths[0]), *cells]))
        return [lines[0], margin + "─" * total, *lines[1:]]
    # Each row of a wide table is a list of its own.
    label = max(map(columns, table.header[1:]))
    lines = []
    for first, *others in rows[1:]:
        lines += ["", margin + first] if lines else [margin + first]
        heads = zip(table.header[1:], others, strict=True)
        lines += [f"{margin}  {padded(head, label)}  {cell}" for head, cell in heads]
    return lines


def _cell(cell: str | Math) -> str:
    return cell if isinstance(cell, str) else cell.line
