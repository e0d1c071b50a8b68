"""Notation as Unicode text for a terminal: fractions stacked, sums drawn, long lines broken."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise

from sgdfit.derivation.boxes import Box, beside, columns, enclosed, over, raised
from sgdfit.derivation.inline_text import DOT, broken, inline, leading_sign, superscript, wrapped
from sgdfit.derivation.notation import (
    Call,
    Cases,
    Equation,
    Exponential,
    Fence,
    Fraction,
    Node,
    Power,
    Product,
    Root,
    Step,
    Table,
    Terms,
    Total,
    children,
    separator,
)

__all__ = ["draw", "render"]

INDENT = 4
NARROWEST = 24
SHORT_ARGUMENT = 24  # columns up to which a function's argument stands on one line


def render(steps: Sequence[Step], width: int = 80) -> str:
    """Return the steps as text, no line longer than ``width`` where that can be had."""
    width = max(width, NARROWEST)
    blocks = [_step(i, step, width) for i, step in enumerate(steps, 1)]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks)


def _step(position: int, step: Step, width: int) -> list[str]:
    number = f"{position}  "
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


def _prose(parts: Sequence[str | Node], width: int) -> list[str]:
    # A formula stays in one piece: its spaces are not places to break.
    text = "".join(p if isinstance(p, str) else inline(p).replace(" ", "\u00a0") for p in parts)
    lines = textwrap.wrap(text, max(width - 3, NARROWEST), break_on_hyphens=False)
    return [f"   {line}".replace("\u00a0", " ") for line in lines]


def _equation(equation: Equation, width: int) -> list[str]:
    """Draw a chain on one line where it fits, else one line for each of its parts."""
    if equation.sign == "←":
        return [f"{inline(equation.left)} ← {inline(equation.rights[0])}"]
    left = draw(equation.left)
    sign = Box((f" {equation.sign} ",))
    note = [Box((f"   {equation.note}",))] if equation.note else []
    rights = [draw(right) for right in equation.rights]
    whole = beside([left, *(box for right in rights for box in (sign, right)), *note])
    if whole.width <= width:
        return list(whole.lines)
    room = width - left.width - 3
    hanging = room < NARROWEST  # a left side so long leaves no room beside it
    lines = list(left.lines) if hanging else []
    for i, right in enumerate(equation.rights):
        head = Box((" " * left.width,)) if i else left
        block = _fitted(right, width - 5 if hanging else room)
        parts = [Box(("  ",)), sign, block] if hanging else [head, sign, block]
        lines += ([""] if i and block.height > 1 else []) + list(beside(parts).lines)
    return [*lines, *(note[0].lines if note else ())]


def _fitted(node: Node, width: int) -> Box:
    """Draw within ``width``: whole, else its terms on several lines, else in one broken line."""
    box = draw(node)
    if box.width <= width:
        return box
    if isinstance(node, Terms):
        return _stacked_terms(node, width)
    return _below(wrapped(broken(node), width))


def _stacked_terms(node: Terms, width: int) -> Box:
    rows: list[list[Box]] = [[]]
    for i, (sign, item) in enumerate(node.items):
        lead = Box((leading_sign(sign, first=i == 0),))
        drawn = beside([lead, _fitted(item, width - 4)])
        if rows[-1] and sum(box.width for box in rows[-1]) + drawn.width > width:
            rows.append([Box((" ",))])
        rows[-1].append(drawn)
    blocks = [beside(row) for row in rows]
    airy = any(block.height > 1 for block in blocks)
    lines: list[str] = []
    for i, block in enumerate(blocks):
        lines += ([""] if i and airy else []) + list(block.lines)
    return _below(lines, blocks[0].base)


def _below(lines: Sequence[str], base: int = 0) -> Box:
    width = max(map(columns, lines))
    return Box(tuple(line + " " * (width - columns(line)) for line in lines), base)


def _table(table: Table, width: int) -> list[str]:
    rows = [table.header, *([_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    total = sum(widths) + 2 * len(widths) - 2
    if total + INDENT > width:
        return _listed(table)
    lines = []
    for row in rows:
        cells = [_aligned(c, w, i == 0) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(" " * INDENT + "  ".join(cells))
    return [lines[0], " " * INDENT + "─" * total, *lines[1:]]


def _listed(table: Table) -> list[str]:
    """Each row of a wide table as a list of its own."""
    label = max(map(columns, table.header[1:]))
    lines: list[str] = []
    for name, *cells in table.rows:
        lines += ["", " " * INDENT + _cell(name)] if lines else [" " * INDENT + _cell(name)]
        for head, cell in zip(table.header[1:], cells, strict=True):
            lines.append(" " * (INDENT + 2) + _aligned(head, label, True) + "  " + _cell(cell))
    return lines


def _cell(cell: str | Node) -> str:
    return cell if isinstance(cell, str) else inline(cell)


def _aligned(text: str, width: int, left: bool) -> str:
    spare = " " * (width - columns(text))
    return text + spare if left else spare + text


# Drawn in two dimensions


def draw(node: Node) -> Box:
    """Draw ``node`` in as many lines as it needs.

    Examples
    --------
    >>> from sgdfit.derivation.notation import Name
    >>> print(*draw(Fraction(Name("mass"), Name("N"))).lines, sep="|")
    mass|────| N
    """
    match node:
        case Terms(items):
            parts = [(Box((leading_sign(s, i == 0),)), draw(n)) for i, (s, n) in enumerate(items)]
            return beside(box for pair in parts for box in pair if box.width)
        case Product(factors):
            return _drawn_product(factors)
        case Fraction(top, bottom):
            return over(_flat(top), _flat(bottom))
        case Power(base, exponent):
            return _drawn_power(base, exponent)
        case Fence(body, left, right):
            return enclosed(draw(body), left, right)
        case Call(function, arguments):
            return _drawn_call(broken(function), arguments)
        case Exponential(body):
            return _drawn_call("exp", (body,))
        case Root(body, degree):
            return _drawn_root(body, degree)
        case Total():
            return _drawn_total(node)
        case Cases(branches):
            return _drawn_cases(branches)
        case _:
            return Box((inline(node),))


def _flat(node: Node) -> Box:
    """Draw inside of a fraction: on one line, whatever can be."""
    return draw(node) if _has_cases(node) else Box((inline(node),))


def _has_cases(node: Node) -> bool:
    return isinstance(node, Cases) or any(map(_has_cases, children(node)))


def _drawn_product(factors: Sequence[Node]) -> Box:
    boxes = [draw(factors[0])]
    for left, right in pairwise(factors):
        tall = isinstance(left, Fraction) or isinstance(right, Fraction | Total)
        between = (
            " " if isinstance(right, Total) else " · " if tall else DOT[separator(left, right)]
        )
        boxes += [Box((between,))] if between else []
        boxes.append(draw(right))
    return beside(boxes)


def _drawn_power(base: Node, exponent: Node) -> Box:
    raised_text = superscript(exponent)
    if raised_text is None:
        return raised(draw(base), Box((inline(exponent),)))
    if isinstance(base, Call):
        return _drawn_call(broken(base.function) + raised_text, base.arguments)
    box = draw(base)
    if box.height == 1:
        return beside([box, Box((raised_text,))])
    return _topped(box, raised_text)


def _topped(box: Box, text: str) -> Box:
    """Put a superscript beside the top line of a tall box."""
    side = [text, *([" " * columns(text)] * (box.height - 1))]
    return beside([box, Box(tuple(side), box.base)])


def _drawn_call(name: str, arguments: Sequence[Node]) -> Box:
    boxes = [_argument(arguments[0])]
    for argument in arguments[1:]:
        boxes += [Box((", ",)), _argument(argument)]
    return beside([Box((name,)), enclosed(beside(boxes), "(", ")")])


def _argument(node: Node) -> Box:
    short = not _has_cases(node) and columns(inline(node)) <= SHORT_ARGUMENT
    return Box((inline(node),)) if short else draw(node)


def _drawn_root(body: Node, degree: int) -> Box:
    return Box((inline(Root(body, degree)),))


def _drawn_total(node: Total) -> Box:
    below, above = f"{node.index}=1", inline(node.count)
    width = max(len(below), columns(above), 1)
    sign = Box((above.center(width), "∑".center(width), below.center(width)), 1)
    return beside([sign, Box((" ",)), draw(node.body)])


def _drawn_cases(branches: Sequence[tuple[Node, Node | None]]) -> Box:
    values = [draw(value) for value, _ in branches]
    width = max(box.width for box in values)
    lines: list[str] = []
    for (_, condition), value in zip(branches, values, strict=True):
        when = "otherwise" if condition is None else f"if {inline(condition)}"
        gap = Box((" " * (width - value.width + 3) + when,))
        lines += beside([value, gap]).lines
    lines = lines if len(lines) > 2 else [lines[0], "", lines[1]]
    body = _below(lines, len(lines) // 2)
    return enclosed(body, "{", "")
