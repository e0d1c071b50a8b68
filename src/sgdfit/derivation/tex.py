r"""Notation as LaTeX: ``align*`` blocks that LaTeX (amsmath) and MathJax both take.

Titles and sentences stand inside of the blocks as ``\text{…}``, since a notebook typesets
nothing else. Signs that the two escape differently inside of text are set as mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from sgdfit.derivation.notation import (
    GREEK,
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
    breadth,
    separator,
    slashed,
)

LINE = 60  # characters that fit on a line, about
PROSE = 80
BULKY = 18  # breadth from which exp(…) reads better than a power of e

_SPACES = {"": "", "thin": r"\,", "dot": r" \cdot "}
_COMMANDS = {letter: f"\\{name} " for name, letter in GREEK.items()} | {
    "ℓ": r"\ell ", "ℒ": r"\mathcal{L}", "Ω": r"\Omega ", "ο": "o", "θ′": r"\theta'",
    **{letter: f"\\mathrm{{{latin}}}" for letter, latin in (("Α", "A"), ("Β", "B"))},
}  # fmt: skip
_SIGNS = {">": ">", "≥": r"\ge", "<": "<", "≤": r"\le", "=": "=", "≠": r"\ne", "←": r"\leftarrow"}
_FENCES = {
    "|": (r"\left|", r"\right|"),
    "⌊": (r"\left\lfloor ", r"\right\rfloor "),
    "⌈": (r"\left\lceil ", r"\right\rceil "),
}
_COMMON = {"sin", "cos", "tan", "cot", "sinh", "cosh", "tanh", "coth", "ln", "log", "max", "min",
           "exp", "arcsin", "arccos", "arctan"}  # fmt: skip
_SPECIAL = {
    "\\": r"{\backslash}", "^": r"{\wedge}", "~": r"{\sim}", "<": "{<}", ">": "{>}", "`": "{`}",
    **{c: f"{{\\{c}}}" for c in "{}$&#_%"},
}  # fmt: skip


def render(steps: Sequence[Step]) -> str:
    """Return the steps as one ``align*`` block each."""
    return "\n\n".join(_block(i, step) for i, step in enumerate(steps, 1))


def _block(position: int, step: Step) -> str:
    rows = [f"&\\textbf{{{position}. }}{_bold(step.title)}"]
    rows += _prose(step.says)
    for equation in step.equations:
        rows += _equation(equation)
    rows += [f"&{_table(step.table)}"] if step.table else []
    rows += _prose(step.remark)
    return "\\begin{align*}\n" + " \\\\[4pt]\n".join(rows) + "\n\\end{align*}"


def text(plain: str) -> str:
    r"""Return ``plain`` as upright text within mathematics, whatever is in it.

    Examples
    --------
    >>> print(text("50% done"))
    \text{50}{\%}\text{ done}
    """
    return _styled(plain, "text")


def _bold(plain: str) -> str:
    return _styled(plain, "textbf")


def _styled(plain: str, command: str) -> str:
    special = "".join(map(re.escape, _SPECIAL))
    pieces = re.findall(f"[{special}]|[^{special}]+", plain)
    return "".join(_SPECIAL.get(piece) or f"\\{command}{{{piece}}}" for piece in pieces)


def _prose(parts: Sequence[str | Node]) -> list[str]:
    """Break sentences into rows, since ``align*`` does not."""
    rows: list[list[str | Node]] = [[]]
    size = 0
    for part in parts:
        words = re.findall(r"\S+\s*|\s+", part) if isinstance(part, str) else [part]
        for word in words:
            width = len(word) if isinstance(word, str) else breadth(word)
            if size + width > PROSE:
                rows.append([])
                size = 0
            rows[-1].append(word)
            size += width
    return [f"&{_sentence(row)}" for row in rows if row]


def _sentence(parts: Sequence[str | Node]) -> str:
    out = plain = ""
    for part in parts:
        if isinstance(part, str):
            plain += part
        else:
            out, plain = out + text(plain) + latex(part), ""
    return out + text(plain)


def _equation(equation: Equation) -> list[str]:
    left, sign = latex(equation.left), _SIGNS[equation.sign]
    wide = sum(map(breadth, (equation.left, *equation.rights))) > LINE
    note = rf" \qquad {text(equation.note)}" if equation.note else ""
    if not wide:
        return [f"{left} &{sign} " + f" {sign} ".join(map(latex, equation.rights)) + note]
    rows = []
    for i, right in enumerate(equation.rights):
        first, *more = lines(right)
        rows.append(f"{'' if i else left} &{sign} {first}")
        rows += [rf"&\quad {line}" for line in more]
    return [*rows[:-1], rows[-1] + note]


def lines(node: Node) -> list[str]:
    """Break a long sum between its terms."""
    if not isinstance(node, Terms) or breadth(node) <= LINE:
        return [latex(node)]
    done: list[str] = []
    line, size = "", 0
    for i, (sign, item) in enumerate(node.items):
        if line and size + breadth(item) > LINE:
            done, line, size = [*done, line], "", 0
        line += _sign(sign, i == 0) + latex(item)
        size += 3 + breadth(item)
    return [*done, line]


def _table(table: Table) -> str:
    rows = [" & ".join(text(cell) for cell in table.header) + r" \\ \hline"]
    for row in table.rows:
        rows.append(" & ".join(text(c) if isinstance(c, str) else latex(c) for c in row) + r" \\")
    shape = "l" + "r" * (len(table.header) - 1)
    return f"\\begin{{array}}{{{shape}}}\n" + "\n".join(rows) + "\n\\end{array}"


def _sign(sign: str, first: bool) -> str:
    shown = "-" if sign == MINUS else sign
    return ("" if sign == "+" else "-") if first else f" {shown} "


def latex(node: Node) -> str:
    r"""Return ``node`` in mathematics.

    Examples
    --------
    >>> print(latex(Fraction(Name("τ"), Power(Name("x", "0"), Number("2")))))
    \frac{\tau }{x_{0}^{2}}
    """
    match node:
        case Name():
            return _name(node)
        case Number(figures):
            mantissa, e, exponent = figures.partition("e")
            return rf"{mantissa} \times 10^{{{int(exponent)}}}" if e else figures
        case Terms(items):
            return "".join(_sign(s, i == 0) + latex(n) for i, (s, n) in enumerate(items))
        case Product(factors):
            return _product(factors)
        case Fraction(top, bottom):
            return f"\\frac{{{latex(top)}}}{{{latex(bottom)}}}"
        case Power(base, exponent):
            return _power(base, exponent)
        case Exponential(body):
            return _exponential(body)
        case Root(body, degree):
            return f"\\sqrt{'' if degree == 2 else f'[{degree}]'}{{{latex(body)}}}"
        case Fence(body, left, right):
            opening, closing = _FENCES.get(left, (rf"\left{left}", rf"\right{right}"))
            return f"{opening}{latex(body)}{closing}"
        case Call(function, arguments):
            return rf"{_operator(function)}\left({', '.join(map(latex, arguments))}\right)"
        case Total(index, count, body):
            return rf"\sum_{{{index}=1}}^{{{latex(count)}}} {latex(body)}"
        case Cases(branches):
            rows = [f"{latex(v)} & {_when(c)}" for v, c in branches]
            return "\\begin{cases} " + r" \\ ".join(rows) + " \\end{cases}"
        case Relation(left, sign, right):
            return f"{latex(left)} {_SIGNS[sign]} {latex(right)}"
        case Junction("not", (only,)):
            return rf"\text{{not }} \left({latex(only)}\right)"
        case Junction(word, parts):
            return rf" \text{{ {word} }} ".join(map(_part, parts))
        case Partial(body):
            return rf"\partial {latex(body)}"
    raise TypeError(f"{type(node).__name__} has no LaTeX form")


def _part(node: Node) -> str:
    return rf"\left({latex(node)}\right)" if isinstance(node, Junction) else latex(node)


def _when(condition: Node | None) -> str:
    return r"\text{otherwise}" if condition is None else rf"\text{{if }} {latex(condition)}"


def _product(factors: Sequence[Node]) -> str:
    out = latex(factors[0])
    for left, right in pairwise(factors):
        wide = isinstance(left, Fraction) or isinstance(right, Fraction | Total)
        out += (r"\, " if wide else _SPACES[separator(left, right)]) + latex(right)
    return out


def _power(base: Node, exponent: Node) -> str:
    if isinstance(base, Call) and isinstance(exponent, Number):
        head = f"{_operator(base.function)}^{{{latex(exponent)}}}"
        return rf"{head}\left({', '.join(map(latex, base.arguments))}\right)"
    return f"{latex(base)}^{{{_script(exponent)}}}"


def _exponential(body: Node) -> str:
    if breadth(body) > BULKY:
        return rf"\exp\left({latex(body)}\right)"
    return f"e^{{{_script(body)}}}"


def _script(node: Node) -> str:
    """Write an exponent: its fractions with a slash, since stacked ones get too small."""
    if isinstance(node, Terms):
        items = enumerate(node.items)
        return "".join(_sign(sign, i == 0) + _script(item) for i, (sign, item) in items)
    sides = slashed(node)
    return latex(node) if sides is None else f"{latex(sides[0])}/{latex(sides[1])}"


def _operator(function: Name) -> str:
    if len(function.text) == 1:
        return _name(function)
    name = function.text
    command = f"\\{name}" if name in _COMMON else rf"\operatorname{{{name}}}"
    return f"{command}_{{{function.sub}}}" if function.sub else command


def _name(name: Name) -> str:
    stem = _word(name.text)
    stem = rf"\hat{{{stem}}}" if name.hat else stem
    low = ",".join(filter(None, (_word(name.sub) if name.sub else "", name.index)))
    return f"{stem}_{{{low}}}" if low else stem


def _word(word: str) -> str:
    if word in _COMMANDS:
        return _COMMANDS[word]
    if (len(word) == 1 and word.isascii() and word.isalpha()) or word.isdigit():
        return word
    return rf"\mathrm{{{word}}}" if word.isascii() and word.isalnum() else f"{{{text(word)}}}"
