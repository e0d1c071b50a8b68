"""Notation as HTML with MathML, which browsers draw by themselves; latex2mathml makes it of LaTeX.

No script, no font and no address of anything elsewhere; every text is escaped. A formula wider
than its column scrolls on its own, so that a page stays readable on a telephone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from latex2mathml.converter import convert

from sgdfit.derivation.notation import (
    Equation,
    Node,
    Number,
    Step,
    Table,
    Terms,
    breadth,
)
from sgdfit.derivation.tex import latex, lines

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
    left, sign = mathml(equation.left), f"<mo>{escape(equation.sign)}</mo>"
    note = f'<mspace width="2em"/><mtext>{escape(equation.note)}</mtext>' if equation.note else ""
    room = LINE if len(equation.rights) == 1 or _ends_in_number(equation) else CHAIN
    if breadth(equation.left) + sum(breadth(r) + 3 for r in equation.rights) <= room:
        chain = sign.join(["", *map(mathml, equation.rights)])
        return f'<math display="block">{_row(left, chain, note)}</math>'
    rows = []
    for i, right in enumerate(equation.rights):
        first, *more = map(_converted, lines(right))
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


def mathml(node: Node) -> str:
    """Return ``node`` as one MathML element.

    Examples
    --------
    >>> from sgdfit.derivation.notation import Name
    >>> mathml(Name("x", index="i"))
    '<mrow><msub><mi>x</mi><mrow><mi>i</mi></mrow></msub></mrow>'
    """
    return _converted(latex(node))


def _converted(source: str) -> str:
    """Return what stands inside of the ``<math>`` that latex2mathml makes of ``source``."""
    whole = str(convert(source, display="block"))
    return whole[whole.index(">") + 1 : whole.rindex("<")]


STYLE = """
.sgdfit-derivation{max-width:54em;color:inherit;line-height:1.5}
.sgdfit-derivation section{margin:0 0 1.6em}
.sgdfit-derivation h3{font-size:1.05em;font-weight:600;margin:0 0 .3em}
.sgdfit-derivation h3 span{opacity:.55;margin-right:.6em;font-variant-numeric:tabular-nums}
.sgdfit-derivation p{margin:.2em 0}
.sgdfit-derivation .formulas{padding-left:1em;margin:.4em 0;
border-left:2px solid color-mix(in srgb,currentColor 18%,transparent)}
.sgdfit-derivation .formula{overflow-x:auto;overflow-y:hidden;padding:.3em 0}
.sgdfit-derivation math{font-size:1.12em}
.sgdfit-derivation p math{font-size:1em}
.sgdfit-derivation math[display]{width:max-content;margin:0}
.sgdfit-derivation mtable.chain>mtr>mtd{text-align:left;padding:.25em 0}
.sgdfit-derivation mtable.chain>mtr>mtd:first-child{text-align:right}
.sgdfit-derivation mtd[columnalign="left"]{text-align:left;padding:.15em .5em .15em 0}
.sgdfit-derivation .scroll{overflow-x:auto;margin:.5em 0}
.sgdfit-derivation table{border-collapse:collapse;background:transparent}
.sgdfit-derivation tr{background:transparent}
.sgdfit-derivation th,.sgdfit-derivation td{padding:.2em 1em .2em 0;text-align:right;
white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:normal}
.sgdfit-derivation thead th{border-bottom:1px solid currentColor;font-weight:600}
.sgdfit-derivation tr>:first-child{text-align:left}
"""
PAGE_STYLE = """
:root{color-scheme:light dark}
body{font:17px/1.5 system-ui,sans-serif;margin:0 auto;padding:1.2em;max-width:54em;
background:Canvas;color:CanvasText}
h1{font-size:1.3em;margin:.2em 0 1em}
@media (max-width:30em){body{font-size:15px;padding:.8em}}
"""
