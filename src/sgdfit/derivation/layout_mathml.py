"""Notation as HTML with presentation MathML (MathML Core), which browsers draw by themselves.

No script, no font and no address of anything elsewhere; every text is escaped. A formula wider
than its column scrolls on its own, so that a page stays readable on a telephone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from sgdfit.derivation.notation import (
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
    breadth,
    children,
    separator,
    slashed,
)
from sgdfit.derivation.style import PAGE_STYLE, STYLE

__all__ = ["mathml", "render"]

LINE = 56  # characters that fit on a line, about
CHAIN = 24  # the same for a chain of equations, which breaks well: telephones are narrow
BULKY = 18  # breadth from which exp(…) reads better than a power of e


def render(steps: Sequence[Step], page: bool = False, title: str = "The gradient, derived") -> str:
    """Return the steps as one element, or as a whole document."""
    sections = "".join(_section(i, step) for i, step in enumerate(steps, 1))
    element = f'<div class="sgdfit-derivation"><style>{STYLE}</style>{sections}</div>'
    if not page:
        return element
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{PAGE_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{element}</body></html>\n"
    )


def _section(position: int, step: Step) -> str:
    parts = [f"<h3><span>{position}</span>{escape(step.title)}</h3>", _prose(step.says)]
    drawn = "".join(f'<div class="formula">{_equation(e)}</div>' for e in step.equations)
    parts += [f'<div class="formulas">{drawn}</div>'] if drawn else []
    parts += [_table(step.table)] if step.table else []
    return f"<section>{''.join(parts)}{_prose(step.remark)}</section>"


def _prose(parts: Sequence[str | Node]) -> str:
    pieces = (escape(p) if isinstance(p, str) else f"<math>{mathml(p)}</math>" for p in parts)
    return f"<p>{''.join(pieces)}</p>" if parts else ""


def _equation(equation: Equation) -> str:
    left, sign = mathml(equation.left), _operator(equation.sign)
    note = f'<mspace width="2em"/><mtext>{escape(equation.note)}</mtext>' if equation.note else ""
    room = LINE if len(equation.rights) == 1 or _ends_in_number(equation) else CHAIN
    if breadth(equation.left) + sum(breadth(r) + 3 for r in equation.rights) <= room:
        chain = sign.join(["", *map(mathml, equation.rights)])
        return f'<math display="block">{_row(left, chain, note)}</math>'
    rows = []
    for i, right in enumerate(equation.rights):
        first, *more = _lines(right)
        rows.append((left if i == 0 else "", _row(sign, first)))
        rows += [("", _row('<mspace width="2em"/>', line)) for line in more]
    rows[-1] = (rows[-1][0], rows[-1][1] + note)
    cells = "".join(f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>" for a, b in rows)
    return (
        f'<math display="block"><mtable class="chain" displaystyle="true">{cells}</mtable></math>'
    )


def _ends_in_number(equation: Equation) -> bool:
    last = equation.rights[-1]
    return isinstance(last.items[0][1] if isinstance(last, Terms) else last, Number)


def _lines(node: Node) -> list[str]:
    """Break a long sum between its terms."""
    if not isinstance(node, Terms) or breadth(node) <= LINE:
        return [mathml(node)]
    lines: list[str] = []
    line, size = "", 0
    for i, (sign, item) in enumerate(node.items):
        if line and size + breadth(item) > LINE:
            lines, line, size = [*lines, line], "", 0
        line += _sign(sign, i == 0) + mathml(item)
        size += 3 + breadth(item)
    return [*lines, line]


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    rows = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{rows}</table></div>'


def _cells(row: Sequence[Node | str]) -> str:
    shown = [escape(c) if isinstance(c, str) else f"<math>{mathml(c)}</math>" for c in row]
    return f'<th scope="row">{shown[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in shown[1:])


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _operator(sign: str, attributes: str = "") -> str:
    return f"<mo{attributes}>{escape(sign)}</mo>"


def _sign(sign: str, first: bool) -> str:
    if first:
        return "" if sign == "+" else _operator("−", ' form="prefix"')
    return _operator(sign, ' form="infix"')


def mathml(node: Node) -> str:
    """Return ``node`` as one MathML element.

    Examples
    --------
    >>> mathml(Power(Name("x", index="i"), Number("2")))
    '<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>'
    """
    match node:
        case Name():
            return _name(node)
        case Number(figures):
            return _number(figures)
        case Terms(items):
            return _row(*(_sign(s, i == 0) + mathml(n) for i, (s, n) in enumerate(items)))
        case Product(factors):
            return _row(_product(factors))
        case Fraction(top, bottom):
            return f"<mfrac>{mathml(top)}{mathml(bottom)}</mfrac>"
        case Power(base, exponent):
            return _power(base, exponent)
        case Exponential(body):
            return _exponential(body)
        case Root(body, 2):
            return f"<msqrt>{mathml(body)}</msqrt>"
        case Root(body, degree):
            return f"<mroot>{mathml(body)}<mn>{degree}</mn></mroot>"
        case Fence(body, left, right):
            return _fence(mathml(body), left, right, tall=_is_tall(body))
        case Call(function, arguments):
            return _row(_name(function), _applied(arguments))
        case Total():
            return _total(node)
        case Cases(branches):
            return _cases(branches)
        case Relation(left, sign, right):
            return _row(mathml(left), _operator(sign), mathml(right))
        case Junction("not", (only,)):
            return _row(_words("not "), _fence(mathml(only)))
        case Junction(word, parts):
            return _row(_words(f" {word} ").join(map(_part, parts)))
        case Partial(body):
            return _row("<mi>∂</mi>", mathml(body))
    raise TypeError(f"{type(node).__name__} has no MathML form")


def _part(node: Node) -> str:
    return _fence(mathml(node)) if isinstance(node, Junction) else mathml(node)


def _words(words: str) -> str:
    return f"<mtext>{escape(words).replace(' ', chr(160))}</mtext>"


def _fence(body: str, left: str = "(", right: str = ")", tall: bool = False) -> str:
    # Without a mathematical font a bracket would stretch far beyond a mere subscript.
    stretchy = f'stretchy="{str(tall).lower()}"'
    opening = _operator(left, f' form="prefix" {stretchy}')
    return _row(opening, body, _operator(right, f' form="postfix" {stretchy}'))


def _is_tall(node: Node) -> bool:
    if isinstance(node, Power | Exponential):
        return isinstance(node, Power) and _is_tall(node.base)
    return isinstance(node, Fraction | Cases | Total) or any(map(_is_tall, children(node)))


def _applied(arguments: Sequence[Node]) -> str:
    inside = _operator(",").join(map(mathml, arguments))
    return "<mo>&#x2061;</mo>" + _fence(inside, tall=any(map(_is_tall, arguments)))


def _product(factors: Sequence[Node]) -> str:
    out = mathml(factors[0])
    for left, right in pairwise(factors):
        kind = separator(left, right)
        wide = isinstance(left, Fraction) or isinstance(right, Fraction | Total)
        if kind == "dot" and not isinstance(right, Total):
            out += _operator("·")
        else:
            space = '<mspace width="0.17em"/>' if kind or wide else ""
            out += "<mo>&#x2062;</mo>" + space
        out += mathml(right)
    return out


def _power(base: Node, exponent: Node) -> str:
    if isinstance(base, Call) and isinstance(exponent, Number):
        head = f"<msup>{_name(base.function)}{mathml(exponent)}</msup>"
        return _row(head, _applied(base.arguments))
    if isinstance(base, Name) and not base.hat and (base.sub or base.index):
        return f"<msubsup>{_stem(base)}{_low(base)}{_script(exponent)}</msubsup>"
    return f"<msup>{mathml(base)}{_script(exponent)}</msup>"


def _exponential(body: Node) -> str:
    if breadth(body) > BULKY:
        return _row("<mi>exp</mi>", _applied((body,)))
    return f"<msup><mi>e</mi>{_script(body)}</msup>"


def _script(node: Node) -> str:
    """Write an exponent: its fractions with a slash, since stacked ones get too small."""
    if isinstance(node, Terms):
        items = enumerate(node.items)
        return _row(*(_sign(sign, i == 0) + _script(item) for i, (sign, item) in items))
    sides = slashed(node)
    if sides is None:
        return mathml(node)
    return _row(mathml(sides[0]), _operator("/", ' lspace="0" rspace="0"'), mathml(sides[1]))


def _total(node: Total) -> str:
    sign = _operator("∑", ' largeop="true" movablelimits="false"')
    below = _row(f"<mi>{escape(node.index)}</mi>", _operator("="), "<mn>1</mn>")
    limits = f"<munderover>{sign}{below}{mathml(node.count)}</munderover>"
    return _row(limits, mathml(node.body))


def _cases(branches: Sequence[tuple[Node, Node | None]]) -> str:
    rows = "".join(
        f"<mtr><mtd>{mathml(value)}</mtd><mtd>{_when(condition)}</mtd></mtr>"
        for value, condition in branches
    )
    brace = _operator("{", ' form="prefix" stretchy="true"')
    return _row(brace, f'<mtable class="cases">{rows}</mtable>')


def _when(condition: Node | None) -> str:
    return _words("otherwise") if condition is None else _row(_words("if "), mathml(condition))


def _number(figures: str) -> str:
    mantissa, e, exponent = figures.partition("e")
    if not e:
        return f"<mn>{escape(figures)}</mn>"
    power = int(exponent)
    sign = _operator("−", ' form="prefix"') if power < 0 else ""
    ten = f"<msup><mn>10</mn>{_row(sign, f'<mn>{abs(power)}</mn>')}</msup>"
    return _row(f"<mn>{escape(mantissa)}</mn>", _operator("×"), ten)


def _name(name: Name) -> str:
    low = _low(name)
    return f"<msub>{_stem(name)}{low}</msub>" if low else _stem(name)


def _stem(name: Name) -> str:
    stem = f"<mi>{escape(name.text)}</mi>"
    return f'<mover accent="true">{stem}<mo stretchy="false">^</mo></mover>' if name.hat else stem


def _low(name: Name) -> str:
    parts = [_token(part) for part in (name.sub, name.index) if part]
    return _row(parts[0], _operator(","), parts[1]) if len(parts) == 2 else "".join(parts)


def _token(part: str) -> str:
    tag = "mn" if part.isdigit() else "mi"
    return f"<{tag}>{escape(part)}</{tag}>"
