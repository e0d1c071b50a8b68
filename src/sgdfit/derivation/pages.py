"""A derivation as text for a terminal, as LaTeX, and as HTML."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape

from sgdfit.derivation.notation import (
    MINUS,
    RELATIONS,
    DerivationStep,
    Equation,
    Math,
    Picture,
    align_lines,
    beside,
    columns,
    latex_text,
    leading_sign,
    padded,
)

# Text: fractions stacked, powers raised, long sums broken.

INDENT = 4
NARROWEST_LINE = 24
# Where a line may be broken: before the sign of a sum, behind any other.
_BREAKS = re.compile(r"(?P<sum> [+−] )|(?P<product>[·/] ?| (?=∑))| [=<>≤≥≠] | and | or |; ")


def text(steps: Sequence[DerivationStep], width: int) -> str:
    """Return the steps as text, no line longer than ``width`` where that can be had."""
    width = max(width, NARROWEST_LINE)
    blocks = []
    for i, step in enumerate(steps, 1):
        lines = textwrap.wrap(f"{i}  {step.title}", width, subsequent_indent="   ")
        lines += _prose(step.says, width)
        drawn = [_equation(equation, width - INDENT) for equation in step.equations]
        airy = any(len(block) > 1 for block in drawn)
        for k, block in enumerate(drawn):
            lines += [""] if k == 0 or airy else []
            lines += [" " * INDENT + line for line in block]
        lines += ["", *_table(step.table, width)] if step.table else []
        lines += ["", *_prose(step.remark, width)] if step.remark else []
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)


def _line(part: str | Math) -> str:
    return part if isinstance(part, str) else part.line


def _prose(parts: Sequence[str | Math], width: int) -> list[str]:
    # A formula stays in one piece: its spaces are not places to break.
    said = "".join(p if isinstance(p, str) else p.line.replace(" ", "\u00a0") for p in parts)
    lines = textwrap.wrap(said, max(width - 3, NARROWEST_LINE), break_on_hyphens=False)
    return [f"   {line}".replace("\u00a0", " ") for line in lines]


def _equation(equation: Equation, width: int) -> Sequence[str]:
    """Draw a chain on one line where it fits, else one line for each of its parts."""
    left, sign = equation.left.picture, Picture((f" {equation.sign} ",))
    if equation.sign == "←":
        return [equation.left.line + sign.lines[0] + equation.rights[0].line]
    note = [f"   {equation.note}"] if equation.note else []
    chain = [piece for right in equation.rights for piece in (sign, right.picture)]
    whole = beside([left, *chain, *(Picture((told,)) for told in note)])
    if columns(whole.lines[0]) <= width:
        return whole.lines
    room = width - equation.left.width - 3
    hanging = room < NARROWEST_LINE  # a left side so long leaves no room beside it
    lines = list(left.lines) if hanging else []
    for i, right in enumerate(equation.rights):
        block = _fitted(right, width - 5 if hanging else room)
        blank = "  " if hanging else " " * equation.left.width
        lines += [""] if i and len(block.lines) > 1 else []
        lines += beside([Picture((blank,)) if hanging or i else left, sign, block]).lines
    return [*lines, *note]


def _fitted(part: Math, width: int) -> Picture:
    """Draw within ``width``: whole, else its terms on several lines, else in one broken line."""
    if part.width <= width:
        return part.picture
    if part.kind != "sum":
        return align_lines(_wrapped(part.line, width))
    blocks: list[Picture] = []
    for i, (sign, term) in enumerate(part.parts):
        lead = Picture((leading_sign(sign, i == 0).replace("-", MINUS),))
        drawn = beside([lead, _fitted(term, width - 4)])
        if blocks and columns((blocks[-1].lines + drawn.lines)[0] + drawn.lines[0]) <= width:
            blocks[-1] = beside([blocks[-1], drawn])
        else:
            blocks.append(beside([Picture((" ",)), drawn]) if blocks else drawn)
    airy = any(len(block.lines) > 1 for block in blocks)
    lines: list[str] = []
    for i, block in enumerate(blocks):
        lines += ([""] if i and airy else []) + list(block.lines)
    return align_lines(lines, blocks[0].base)


def _wrapped(line: str, width: int) -> list[str]:
    """Break a line, outside of brackets where that leaves it at least half full."""
    lines = []
    while columns(line) > width:
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
        cut = min(places)[2] if places else at  # a name longer than the line is cut
        lines.append(line[:cut].rstrip())
        line = "  " + line[cut:].lstrip()
    return [*lines, line]


def _table(table: Sequence[Sequence[str | Math]], width: int) -> list[str]:
    rows = [[_line(cell) for cell in row] for row in table]
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
    (_, *heads), *body = rows
    label = max(map(columns, heads))
    lines = []
    for first, *others in body:
        lines += ["", margin + first] if lines else [margin + first]
        pairs = zip(heads, others, strict=True)
        lines += [f"{margin}  {padded(head, label)}  {cell}" for head, cell in pairs]
    return lines


# LaTeX: ``align*`` blocks that LaTeX (amsmath) and MathJax both take. Titles and sentences stand
# inside of the blocks as ``\text{…}``, since a notebook typesets nothing else.

LATEX_LINE = 72  # columns that fit on a line, about
LATEX_PROSE = 80
_PLACE = 0xE000  # characters for private use, which stand for the mathematics in a sentence


def latex(steps: Sequence[DerivationStep]) -> str:
    """Return the steps as one ``align*`` block each."""
    blocks = []
    for i, step in enumerate(steps, 1):
        rows = [f"&\\textbf{{{i}. }}{latex_text(step.title, 'textbf')}", *_latex_prose(step.says)]
        for equation in step.equations:
            rows += _latex_equation(equation, LATEX_LINE)
        rows += [f"&{_latex_table(step.table)}"] if step.table else []
        blocks.append(_aligned([*rows, *_latex_prose(step.remark)], r" \\[4pt]"))
    return "\n\n".join(blocks)


def _aligned(rows: Sequence[str], end: str = r" \\") -> str:
    return "\\begin{align*}\n" + f"{end}\n".join(rows) + "\n\\end{align*}"


def _latex(part: str | Math) -> str:
    return latex_text(part) if isinstance(part, str) else part.latex


def _latex_prose(parts: Sequence[str | Math]) -> list[str]:
    """Break sentences into rows, since ``align*`` does not."""
    said = "".join(
        part if isinstance(part, str) else chr(_PLACE + i) * part.width
        for i, part in enumerate(parts)
    )
    rows = []
    for line in textwrap.wrap(said, LATEX_PROSE, break_long_words=False):
        pieces = [
            match[0] for match in re.finditer(r"([\ue000-\uf8ff])\1*|[^\ue000-\uf8ff]+", line)
        ]
        places = [ord(piece[0]) - _PLACE for piece in pieces]
        shown = [parts[at] if at >= 0 else piece for at, piece in zip(places, pieces, strict=True)]
        rows.append("&" + "".join(map(_latex, shown)))
    return rows


def _latex_equation(equation: Equation, room: int) -> list[str]:
    """Return a chain on one row where it has ``room``, else on one row for each of its parts."""
    left, sign = equation.left.latex, RELATIONS[equation.sign]
    note = rf" \qquad {latex_text(equation.note)}" if equation.note else ""
    if equation.left.width + sum(right.width + 3 for right in equation.rights) <= room:
        return [f"{left} &{sign} " + f" {sign} ".join(r.latex for r in equation.rights) + note]
    rows = []
    for i, right in enumerate(equation.rights):
        lines, size = [""], 0
        # A long sum is broken between its terms.
        terms = right.parts if right.kind == "sum" and right.width > LATEX_LINE else [("+", right)]
        for k, (before, term) in enumerate(terms):
            if lines[-1] and size + term.width > LATEX_LINE:
                lines, size = [*lines, ""], 0
            lines[-1] += leading_sign(before, k == 0) + term.latex
            size += 3 + term.width
        rows.append(f"{'' if i else left} &{sign} {lines[0]}")
        rows += [rf"&\quad {line}" for line in lines[1:]]
    return [*rows[:-1], rows[-1] + note]


def _latex_table(table: Sequence[Sequence[str | Math]]) -> str:
    head, *body = (" & ".join(map(_latex, row)) + r" \\" for row in table)
    shape = "l" + "r" * (len(table[0]) - 1)
    return "\n".join([f"\\begin{{array}}{{{shape}}}", rf"{head} \hline", *body, "\\end{array}"])


# HTML with MathML, which browsers draw by themselves; latex2mathml makes it of the LaTeX. No
# script, no font and no address of anything elsewhere; every text is escaped. A formula wider
# than its column scrolls on its own, so that a page stays readable on a telephone.

TITLE = "The gradient, derived"
HTML_LINE = 66  # columns that fit on a line, about
HTML_CHAIN = 24  # the same for a chain of equations, which breaks well: telephones are narrow
_EQUALS = "<mo>&#x0003D;</mo>"


def html(steps: Sequence[DerivationStep], page: bool) -> str:
    """Return the steps as one element, or as a whole document."""
    sections = "".join(_html_section(i, step) for i, step in enumerate(steps, 1))
    element = f'<div class="sgdfit-derivation"><style>{STYLE}</style>{sections}</div>'
    if not page:
        return element
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{TITLE}</title><style>{PAGE_STYLE}</style></head>"
        f"<body><h1>{TITLE}</h1>{element}</body></html>\n"
    )


def _html_section(position: int, step: DerivationStep) -> str:
    prose, remark = (
        f"<p>{''.join(map(_html, said))}</p>" if said else "" for said in (step.says, step.remark)
    )
    drawn = "".join(f'<div class="formula">{_html_equation(e)}</div>' for e in step.equations)
    formulas = f'<div class="formulas">{drawn}</div>' if drawn else ""
    table = ""
    if step.table:
        head, *body = step.table
        # Screen readers take neither a formula nor nothing for the name of a column or row.
        cells = "".join(f'<th scope="col">{_html(c)}</th>' if c else "<td></td>" for c in head)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in row)}</tr>" for row in body
        )
        whole = f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody>"
        table = f'<div class="scroll"><table>{whole}</table></div>'
    heading = f"<h3><span>{position}</span>{escape(step.title)}</h3>"
    return f"<section>{heading}{prose}{formulas}{table}{remark}</section>"


def _html(part: str | Math) -> str:
    return escape(part) if isinstance(part, str) else _mathml(part.latex, "inline")


def _html_equation(equation: Equation) -> str:
    last = equation.rights[-1]
    last = last.parts[0][1] if last.kind == "sum" else last
    whole = len(equation.rights) == 1 or last.kind == "number"
    rows = _latex_equation(equation, HTML_LINE if whole else HTML_CHAIN)
    drawn = _mathml(_aligned(rows), "block")
    return drawn.replace(f"{_EQUALS}<mo>", f'{_EQUALS}<mo form="prefix">')  # a sign, no operator


def mathml(shown: Math) -> str:
    """Return mathematics as a block of MathML."""
    return _mathml(shown.latex, "block")


def _mathml(shown: str, display: str) -> str:
    from latex2mathml.converter import convert

    return str(convert(shown, xmlns="", display=display)).replace(' xmlns=""', "", 1)


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
