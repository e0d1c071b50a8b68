"""A derivation as HTML with MathML, which browsers draw by themselves; latex2mathml makes it.

No script, no font and no address of anything elsewhere; every text is escaped. A formula wider
than its column scrolls on its own, so that a page stays readable on a telephone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from latex2mathml.converter import convert

from sgdfit.derivation.notation import Equation, Math, Step, Table
from sgdfit.derivation.tex import aligned, equation_rows

TITLE = "The gradient, derived"
LINE = 66  # columns that fit on a line, about
CHAIN = 24  # the same for a chain of equations, which breaks well: telephones are narrow
_EQUALS = "<mo>&#x0003D;</mo>"


def render(steps: Sequence[Step], page: bool) -> str:
    """Return the steps as one element, or as a whole document."""
    sections = "".join(_section(i, step) for i, step in enumerate(steps, 1))
    element = f'<div class="sgdfit-derivation"><style>{STYLE}</style>{sections}</div>'
    if not page:
        return element
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{TITLE}</title><style>{PAGE_STYLE}</style></head>"
        f"<body><h1>{TITLE}</h1>{element}</body></html>\n"
    )


def _section(position: int, step: Step) -> str:
    parts = [f"<h3><span>{position}</span>{escape(step.title)}</h3>", _prose(step.says)]
    drawn = "".join(f'<div class="formula">{_equation(e)}</div>' for e in step.equations)
    parts += [f'<div class="formulas">{drawn}</div>'] if drawn else []
    parts += [_table(step.table)] if step.table else []
    return f"<section>{''.join(parts)}{_prose(step.remark)}</section>"


def _prose(parts: Sequence[str | Math]) -> str:
    return f"<p>{''.join(map(_inline, parts))}</p>" if parts else ""


def _inline(part: str | Math) -> str:
    return escape(part) if isinstance(part, str) else _mathml(part.latex, "inline")


def _mathml(latex: str, display: str) -> str:
    return str(convert(latex, xmlns="", display=display)).replace(' xmlns=""', "", 1)


def _equation(equation: Equation) -> str:
    last = equation.rights[-1]
    last = last.parts[0][1] if last.kind == "sum" else last
    whole = len(equation.rights) == 1 or last.kind == "number"
    drawn = _mathml(aligned(equation_rows(equation, LINE if whole else CHAIN)), "block")
    return drawn.replace(f"{_EQUALS}<mo>", f'{_EQUALS}<mo form="prefix">')  # a sign, no operator


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    body = "".join(
        f'<tr><th scope="row">{_inline(first)}</th>'
        + "".join(f"<td>{_inline(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in table.rows
    )
    rows = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{rows}</table></div>'


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
.sgdfit-derivation mtd[columnalign="left"]{text-align:left;padding:.15em .5em .15em 0}
.sgdfit-derivation mtd[columnalign="right"]{text-align:right}
.sgdfit-derivation mtable[displaystyle]>mtr>mtd{padding:.1em 0}
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
