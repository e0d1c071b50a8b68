r"""A derivation as LaTeX: ``align*`` blocks that LaTeX (amsmath) and MathJax both take.

Titles and sentences stand inside of the blocks as ``\text{…}``, since a notebook typesets
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sgdfit.derivation.notation import (
    RELATIONS,
    Equation,
    Math,
    Step,
    Table,
    latex_text,
    leading_sign,
)

LINE = 72  # columns that fit on a line, about
PROSE = 80


def render(steps: Sequence[Step]) -> str:
    """Return the steps as one ``align*`` block each."""
    return "\n\n".join(_block(i, step) for i, step in enumerate(steps, 1))


def _block(position: int, step: Step) -> str:
    rows = [f"&\\textbf{{{position}. }}{latex_text(step.title, 'textbf')}", *_prose(step.says)]
    for equation in step.equations:
        rows += equation_rows(equation, LINE)
    rows += [f"&{_table(step.table)}"] if step.table else []
    return aligned([*rows, *_prose(step.remark)], r" \\[4pt]")


def aligned(rows: Sequence[str], end: str = r" \\") -> str:
    """Return rows as one block."""
    return "\\begin{align*}\n" + f"{end}\n".join(rows) + "\n\\end{align*}"


def _prose(parts: Sequence[str | Math]) -> list[str]:
    """Break sentences into rows, since ``align*`` does not."""
    rows: list[str] = [""]
    size, plain = 0, ""
    for part in [*parts, ""]:
        for word in re.findall(r"\S+\s*|\s+", part) if isinstance(part, str) else [part]:
            width = len(word) if isinstance(word, str) else word.width
            if size + width > PROSE:
                rows[-1] += latex_text(plain)
                rows.append("")
                size, plain = 0, ""
            size += width
            if isinstance(word, str):
                plain += word
            else:
                rows[-1], plain = rows[-1] + latex_text(plain) + word.latex, ""
    rows[-1] += latex_text(plain)
    return [f"&{row}" for row in rows if row]


def equation_rows(equation: Equation, room: int) -> list[str]:
    """Return a chain on one row where it has ``room``, else on one row for each of its parts."""
    left, sign = equation.left.latex, RELATIONS[equation.sign]
    note = rf" \qquad {latex_text(equation.note)}" if equation.note else ""
    if equation.left.width + sum(right.width + 3 for right in equation.rights) <= room:
        return [f"{left} &{sign} " + f" {sign} ".join(r.latex for r in equation.rights) + note]
    rows = []
    for i, right in enumerate(equation.rights):
        first, *more = _lines(right)
        rows.append(f"{'' if i else left} &{sign} {first}")
        rows += [rf"&\quad {line}" for line in more]
    return [*rows[:-1], rows[-1] + note]


def _lines(part: Math) -> list[str]:
    """Break a long sum between its terms."""
    if part.kind != "sum" or part.width <= LINE:
        return [part.latex]
    lines, size = [""], 0
    for i, (sign, term) in enumerate(part.parts):
        if lines[-1] and size + term.width > LINE:
            lines, size = [*lines, ""], 0
        lines[-1] += leading_sign(sign, i == 0) + term.latex
        size += 3 + term.width
    return lines


def _table(table: Table) -> str:
    rows = [" & ".join(map(latex_text, table.header)) + r" \\ \hline"]
    for row in table.rows:
        cells = (latex_text(cell) if isinstance(cell, str) else cell.latex for cell in row)
        rows.append(" & ".join(cells) + r" \\")
    shape = "l" + "r" * (len(table.header) - 1)
    return f"\\begin{{array}}{{{shape}}}\n" + "\n".join(rows) + "\n\\end{array}"
