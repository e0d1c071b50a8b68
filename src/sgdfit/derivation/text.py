"""Notation as text for a terminal: fractions stacked, powers raised, long sums broken."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sgdfit.derivation.notation import (
    MINUS,
    Call,
    Cases,
    Equation,
    Exponential,
    Fence,
    Fraction,
    Junction,
    Name,
    Node,
    Number,
    Partial,
    Power,
    Product,
    Relation,
    Root,
    Step,
    Table,
    Terms,
    Total,
    children,
    separator,
)

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


# Where an inline text may be broken, well or at a pinch; no name holds these characters.
_BREAK, _PINCH = "\0", "\1"

_SUPERSCRIPTS = dict(
    zip(
        "0123456789+−abcdefghijklmnoprstuvwxyzβγδφχ",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵝᵞᵟᵠᵡ",
        strict=True,
    )
)
_SUBSCRIPTS = dict(
    zip(
        "0123456789aehijklmnoprstuvxβγρφχ",
        "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ",
        strict=True,
    )
)
_WHOLE = {ord(_BREAK): None, ord(_PINCH): None}
DOT = {"": "", "thin": "·", "dot": "·"}


def inline(node: Node) -> str:
    """Return ``node`` in one line.

    Examples
    --------
    >>> inline(Fraction(Terms((("+", Name("a")), ("+", Name("b")))), Number("2")))
    '(a + b)/2'
    """
    return broken(node).translate(_WHOLE)


def broken(node: Node) -> str:
    """Return ``node`` in one line, with marks where it may be broken."""
    match node:
        case Name(text, sub, index, hat):
            return _name(text, sub, index, hat)
        case Number(text):
            return _number(text)
        case Terms(items):
            return "".join(_term(s, n, i == 0) for i, (s, n) in enumerate(items))
        case Product(factors):
            return _inline_product(factors)
        case Fraction(top, bottom):
            return f"{_closed(top, Terms)}/{_PINCH}{_closed(bottom, Terms, Product, Fraction)}"
        case Power(base, exponent):
            return _inline_power(base, exponent)
        case Exponential(body):
            return f"exp({broken(body)})"
        case Root(body, degree):
            return _inline_root(body, degree)
        case Fence(body, left, right):
            return f"{left}{broken(body)}{right}"
        case Call(function, arguments):
            return f"{broken(function)}({_joined(', ', arguments)})"
        case Total(index, _, body):
            return f"∑{_SUBSCRIPTS.get(index, index)} {broken(body)}"
        case Cases(branches):
            return "{" + _joined_cases(branches) + "}"
        case Relation(left, sign, right):
            return f"{broken(left)} {sign} {_BREAK}{broken(right)}"
        case Junction("not", (only,)):
            return f"not ({broken(only)})"
        case Junction(word, parts):
            return f" {word} {_BREAK}".join(_closed(part, Junction) for part in parts)
        case Partial(body):
            return f"∂{broken(body)}"
    raise TypeError(f"{type(node).__name__} has no text form")


def _joined(between: str, nodes: Iterable[Node]) -> str:
    return between.join(map(broken, nodes))


def _joined_cases(branches: Sequence[tuple[Node, Node | None]]) -> str:
    pieces = [
        f"{broken(value)} " + ("otherwise" if condition is None else f"if {broken(condition)}")
        for value, condition in branches
    ]
    return f"; {_BREAK}".join(pieces)


def _term(sign: str, node: Node, first: bool) -> str:
    return ("" if first else _BREAK) + leading_sign(sign, first) + broken(node)


def _closed(node: Node, *kinds: type[Node]) -> str:
    text = broken(node)
    return f"({text})" if isinstance(node, kinds) else text


def _inline_product(factors: Sequence[Node]) -> str:
    text = broken(factors[0])
    for left, right in pairwise(factors):
        between = " " if isinstance(right, Total) else DOT[separator(left, right)]
        slashed = isinstance(right, Fraction) or isinstance(left, Fraction)
        between = " · " if slashed and between != " " else between
        text += between + (_PINCH if between else "") + broken(right)
    return text


def _inline_power(base: Node, exponent: Node) -> str:
    above = superscript(exponent)
    if above is None:
        return f"{broken(base)}^{_closed(exponent, Terms, Product, Fraction, Power)}"
    if isinstance(base, Call):
        return f"{broken(base.function)}{above}({_joined(', ', base.arguments)})"
    return broken(base) + above


def _inline_root(body: Node, degree: int) -> str:
    sign = {2: "√", 3: "∛"}[degree]
    bare = isinstance(body, Name | Number) and columns(broken(body)) <= 2
    return f"{sign}{broken(body)}" if bare else f"{sign}({broken(body)})"


def superscript(node: Node) -> str | None:
    """Return an exponent in raised characters, where Unicode has them."""
    text = inline(node)
    if len(text) > 3 or any(c not in _SUPERSCRIPTS for c in text):
        return None
    return "".join(_SUPERSCRIPTS[c] for c in text)


def _name(text: str, sub: str, index: str, hat: bool) -> str:
    text = "ŷ" if hat and text == "y" else f"{text}\u0302" if hat else text
    low = "".join(_SUBSCRIPTS.get(c, "\0") for c in sub)
    text += f"_{sub}" if "\0" in low else low
    return text + ("" if not index else _SUBSCRIPTS.get(index, f"[{index}]"))


def _number(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    power = "".join(_SUPERSCRIPTS[MINUS if c == "-" else c] for c in str(int(exponent)))
    return f"{mantissa}×10{power}"


def leading_sign(sign: str, first: bool) -> str:
    """Return a term's sign with the space that it takes."""
    return ("" if sign == "+" else MINUS) if first else f" {sign} "


def wrapped(text: str, width: int) -> list[str]:
    """Break a line, outside of brackets where that leaves it at least half full."""
    lines = []
    while columns(text.translate(_WHOLE)) > width:
        at = _best_break(text, width)
        lines.append(text[:at].translate(_WHOLE).rstrip())
        text = "  " + text[at:].lstrip(_BREAK + _PINCH + " ")
    return [*lines, text.translate(_WHOLE).rstrip()]


def _best_break(text: str, width: int) -> int:
    depth = used = cut = 0
    best: tuple[float, int, int] | None = None
    for at, character in enumerate(text):
        if character in (_BREAK, _PINCH) and used > 2:
            badness = depth + 0.5 * (used < width / 2) + 0.7 * (character == _PINCH)
            candidate = (badness, -used, at)
            best = min(best, candidate) if best else candidate
        depth += (character in "([{") - (character in ")]}")
        used += 0 if character in (_BREAK, _PINCH) else columns(character)
        if used > width:
            cut = at
            break
    return best[2] if best else cut  # a name longer than the line is cut


_BRACKETS = {
    "(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "|": "│││",
    "⌊": "││⌊", "⌋": "││⌋", "⌈": "⌈││", "⌉": "⌉││",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """Lines of equal width, one of which is the base line."""

    lines: tuple[str, ...]
    base: int = 0

    @property
    def width(self) -> int:
        """Columns of a terminal that it takes."""
        return columns(self.lines[0])

    @property
    def height(self) -> int:
        """Lines that it takes."""
        return len(self.lines)


def columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes.

    Examples
    --------
    >>> columns("ŷᵢ = 質量")
    9
    """
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def beside(boxes: Iterable[Box]) -> Box:
    """Set boxes beside one another, base lines aligned."""
    boxes = list(boxes)
    above = max(box.base for box in boxes)
    below = max(box.height - box.base for box in boxes)
    padded = [_padded(box, above - box.base, below - (box.height - box.base)) for box in boxes]
    return Box(tuple(map("".join, zip(*(box.lines for box in padded), strict=True))), above)


def _padded(box: Box, above: int, below: int) -> Box:
    empty = " " * box.width
    return Box(((empty,) * above) + box.lines + ((empty,) * below), box.base + above)


def _centred(lines: Sequence[str], width: int) -> tuple[str, ...]:
    out = []
    for line in lines:
        spare = width - columns(line)
        out.append(" " * (spare // 2) + line + " " * (spare - spare // 2))
    return tuple(out)


def over(top: Box, bottom: Box, rule: str = "─") -> Box:
    """Set one box over another with a rule between them: a fraction."""
    width = max(top.width, bottom.width)
    lines = (*_centred(top.lines, width), rule * width, *_centred(bottom.lines, width))
    return Box(lines, top.height)


def raised(base: Box, exponent: Box) -> Box:
    """Set an exponent to the upper right of ``base``."""
    lifted = Box(exponent.lines, exponent.height + base.base)
    blank = Box((*lifted.lines, *(" " * exponent.width for _ in range(base.base + 1))), lifted.base)
    return beside([base, blank])


def enclosed(box: Box, left: str, right: str) -> Box:
    """Set brackets of the box's height around it; an empty string sets none."""
    parts = [_bracket(left, box), box, _bracket(right, box)]
    return beside(part for part in parts if part is not None)


def _bracket(sign: str, box: Box) -> Box | None:
    if not sign:
        return None
    if box.height == 1:
        return Box((sign,), 0)
    if sign == "{":
        return _brace(box)
    top, middle, bottom = list(_BRACKETS[sign])
    return Box((top, *([middle] * (box.height - 2)), bottom), box.base)


def _brace(box: Box) -> Box:
    lines = ["⎪"] * max(3, box.height)
    lines[0], lines[len(lines) // 2], lines[-1] = "⎧", "⎨", "⎩"
    return Box(tuple(f"{line} " for line in lines), len(lines) // 2)
