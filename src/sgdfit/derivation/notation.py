"""Mathematics as it is written: each operation in one line, stacked in several, and in LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

MINUS = "−"
BULKY = 18  # breadth from which exp(…) reads better than a power of e
SHORT_ARGUMENT = 24  # columns up to which a function's argument stands on one line

_SMALL = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
    " sigma tau upsilon phi chi psi omega"
)
_LARGE = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_LETTERS = "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
GREEK = dict(zip(f"{_SMALL} {_LARGE}".split(), _LETTERS, strict=True))
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
_TALL = {
    "(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "|": "│││",
    "⌊": "││⌊", "⌋": "││⌋", "⌈": "⌈││", "⌉": "⌉││",
}  # fmt: skip
_COMMANDS = {letter: f"\\{name} " for name, letter in GREEK.items()} | {
    "ℓ": r"\ell ", "ℒ": r"\mathcal{L}", "Ω": r"\Omega ", "ο": "o", "θ′": r"\theta'",
    "Α": r"\mathrm{A}", "Β": r"\mathrm{B}",
}  # fmt: skip
RELATIONS = {
    ">": ">", "≥": r"\ge", "<": "<", "≤": r"\le", "=": "=", "≠": r"\ne", "←": r"\leftarrow",
}  # fmt: skip
_FENCES = {"⌊": r"\lfloor ", "⌋": r"\rfloor", "⌈": r"\lceil ", "⌉": r"\rceil"}
_COMMON = {"sin", "cos", "tan", "cot", "sinh", "cosh", "tanh", "coth", "ln", "log", "max", "min",
           "exp", "arcsin", "arccos", "arctan"}  # fmt: skip
# LaTeX and MathJax escape these differently inside of text: they are set as mathematics.
_SPECIAL = {
    "\\": r"{\backslash}", "^": r"{\wedge}", "~": r"{\sim}", "<": "{<}", ">": "{>}", "`": "{`}",
    **{c: f"{{\\{c}}}" for c in "{}$&#_%"},
}  # fmt: skip


class Box(NamedTuple):
    """Lines of equal width, one of which is the base line."""

    lines: tuple[str, ...]
    base: int = 0


class Math(NamedTuple):
    """A piece of mathematics, written in three ways."""

    kind: str  # what it is: this decides the brackets and the signs around it
    line: str  # in one line
    latex: str
    box: Box  # stacked; its width serves for that of the LaTeX too
    parts: tuple[Any, ...] = ()  # a sum's signed terms, a product's factors, a fraction's sides, …

    @property
    def width(self) -> int:
        """Columns that it takes, stacked."""
        return columns(self.box.lines[0])


def _math(kind: str, line: str, latex: str, box: Box | None = None, parts: Any = ()) -> Math:
    return Math(kind, line, latex, box or Box((line,)), tuple(parts))


class Equation(NamedTuple):
    """``left = right = right …``, with a word of comment."""

    left: Math
    rights: tuple[Math, ...]
    sign: str = "="
    note: str = ""


class Table(NamedTuple):
    """A table whose first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Math | str, ...], ...]


class Step(NamedTuple):
    """One step of a derivation: a title, sentences with mathematics, equations, a table."""

    title: str
    says: Sequence[str | Math] = ()
    equations: Sequence[Equation] = ()
    table: Table | None = None
    remark: Sequence[str | Math] = ()


# Atoms


def name(stem: str, sub: str = "", index: str = "", hat: bool = False) -> Math:
    """Write a name such as x, τ or mass, with a subscript of its own and the index of its row."""
    text = ("ŷ" if stem == "y" else f"{stem}\u0302") if hat else stem
    low = "".join(_SUBSCRIPTS.get(c, "\0") for c in sub)
    text += f"_{sub}" if "\0" in low else low
    text += _SUBSCRIPTS.get(index, f"[{index}]") if index else ""
    latex = rf"\hat{{{_word(stem)}}}" if hat else _word(stem)
    lows = ",".join(filter(None, (_word(sub) if sub else "", index)))
    kind = "word" if len(stem) > 1 else "letter"
    return _math(kind, text, f"{latex}_{{{lows}}}" if lows else latex)


def _word(word: str) -> str:
    if word in _COMMANDS:
        return _COMMANDS[word]
    if (len(word) == 1 and word.isascii() and word.isalpha()) or word.isdigit():
        return word
    return rf"\mathrm{{{word}}}" if word.isascii() and word.isalnum() else f"{{{latex_text(word)}}}"


def figures(digits: str) -> Math:
    """Write a number that is not negative, as Python does: ``3``, ``0.25`` or ``1.5e-07``."""
    text, e, exponent = digits.partition("e")
    if not e:
        return _math("number", text, text)
    small = "".join(_SUPERSCRIPTS[c] for c in str(int(exponent)).replace("-", MINUS))
    return _math("number", f"{text}×10{small}", rf"{text} \times 10^{{{int(exponent)}}}")


def number(value: float, digits: int = 6) -> Math:
    """Write a number rounded to ``digits`` significant ones, with its sign.

    Examples
    --------
    >>> number(-20.12431).line
    '−20.1243'
    """
    return signed("-" if value < 0 else "+", figures(f"{abs(value):.{digits}g}"))


# Sums and products


def add(items: Iterable[tuple[str, Math]]) -> Math:
    """Join terms with their signs, opening those that are sums themselves."""
    flat: list[tuple[str, Math]] = []
    for sign, part in items:
        if part.kind == "sum" and sign == "+":
            flat += part.parts
        else:
            flat.append((sign, part if open_ended(part) else fenced(part)))
    closed = [(sign, brackets(part) if open_ended(part) else part) for sign, part in flat[:-1]]
    terms = [*closed, flat[-1]]
    leads = [leading_sign(sign, i == 0) for i, (sign, _) in enumerate(terms)]
    signs = [lead.replace("-", MINUS) for lead in leads]
    return _math(
        "sum",
        "".join(sign + term.line for sign, (_, term) in zip(signs, terms, strict=True)),
        "".join(lead + term.latex for lead, (_, term) in zip(leads, terms, strict=True)),
        beside(x for sign, (_, term) in zip(signs, terms, strict=True) for x in (sign, term.box)),
        terms,
    )


def signed(sign: str, part: Math) -> Math:
    """Return ``part``, or minus it."""
    return add([(sign, part)]) if sign == "-" else part


def leading_sign(sign: str, first: bool) -> str:
    """Return a term's sign with the space that it takes."""
    return ("" if sign == "+" else sign) if first else f" {sign} "


def times(factors: Iterable[Math]) -> Math:
    """Join factors, opening those that are products themselves, in brackets where needed."""
    opened = [f for part in factors for f in (part.parts if part.kind == "product" else [part])]
    flat = [f for f in opened if f.line != "1"] or [figures("1")]
    if len(flat) == 1:
        return flat[0]
    flat = [*map(fenced, flat[:-1]), flat[-1] if flat[-1].kind == "cases" else fenced(flat[-1])]
    line, latex, pieces = flat[0].line, flat[0].latex, [flat[0].box]
    for left, right in pairwise(flat):
        text, space = _between(left, right)
        line += text + right.line
        latex += space + right.latex
        pieces += [Box((text,)), right.box]
    return _math("product", line, latex, beside(pieces), flat)


def _between(left: Math, right: Math) -> tuple[str, str]:
    """Return what stands between two factors in text and in LaTeX: ``2a`` but ``a·mass``."""
    if right.kind == "summation":
        return " ", r"\, "
    if "fraction" in (left.kind, right.kind):
        return " · ", r"\, "
    thin, dot = ("·", r"\,"), ("·", r" \cdot ")
    begins = _innermost(right)
    if left.kind == "number":
        if right.kind in ("call", "exponential"):
            return thin
        return dot if begins in ("number", "word") or "×" in left.line else ("", "")
    return dot if begins == "number" or "word" in (begins, _innermost(left)) else thin


def _innermost(part: Math) -> str:
    return _innermost(part.parts[0]) if part.kind == "power" else part.kind


def fenced(part: Math) -> Math:
    """Return ``part`` in brackets where it would fall apart in a product."""
    loose = part.kind in ("sum", "cases", "relation", "junction")
    return brackets(part) if loose else part


def open_ended(part: Math) -> bool:
    """Whether it ends in cases, so that what follows would seem to belong to the last."""
    return (part.parts[-1] if part.kind == "product" else part).kind == "cases"


# Everything else that is drawn


def over(top: Math, bottom: Math) -> Math:
    r"""Write a fraction.

    Examples
    --------
    >>> half = over(add([("+", name("a")), ("+", name("b"))]), figures("2"))
    >>> print(half.line, half.latex, *half.box.lines, sep="|")
    (a + b)/2|\frac{a + b}{2}|a + b|─────|  2
    """
    line = f"{_closed(top, 'sum')}/{_closed(bottom, 'sum', 'product', 'fraction')}"
    above, below = _flat(top).lines, _flat(bottom).lines
    rule = "─" * max(columns(above[0]), columns(below[0]))
    box = filled([*above, rule, *below], len(above), "^")
    return _math("fraction", line, f"\\frac{{{top.latex}}}{{{bottom.latex}}}", box, (top, bottom))


def _closed(part: Math, *kinds: str) -> str:
    return f"({part.line})" if part.kind in kinds else part.line


def _flat(part: Math) -> Box:
    """Return ``part`` on one line, unless there are cases in it."""
    return part.box if "{" in part.line else Box((part.line,))


def power(base: Math, exponent: Math) -> Math:
    """Write ``base`` with an exponent: in raised characters where Unicode has them."""
    above = _superscript(exponent.line)
    if base.kind == "call" and exponent.kind == "number" and above:
        head, latex, *arguments = base.parts
        return _called(head + above, f"{latex}^{{{exponent.latex}}}", arguments)
    plain = base.kind in ("letter", "word", "call", "brackets", "number") and "×" not in base.line
    base = base if plain else brackets(base)
    lines, foot = base.box
    height, foot = (len(lines), foot) if above else (foot + 2, foot + 1)
    side = above or exponent.line
    raised = Box((side, *[" " * columns(side)] * (height - 1)), foot)
    shown = above or "^" + _closed(exponent, "sum", "product", "fraction", "power")
    latex = f"{base.latex}^{{{_script(exponent)}}}"
    return _math("power", base.line + shown, latex, beside([base.box, raised]), (base, exponent))


def _superscript(text: str) -> str:
    raised = "".join(_SUPERSCRIPTS.get(c, "\0") for c in text)
    return "" if len(text) > 3 or "\0" in raised else raised


def _script(part: Math) -> str:
    """Write an exponent in LaTeX: its fractions with a slash, since stacked ones get too small."""
    if part.kind == "sum":
        terms = enumerate(part.parts)
        return "".join(leading_sign(sign, i == 0) + _script(term) for i, (sign, term) in terms)
    if part.kind != "fraction":
        return part.latex
    top, bottom = part.parts
    bottom = brackets(bottom) if bottom.kind in ("product", "fraction") else fenced(bottom)
    return f"{fenced(top).latex}/{bottom.latex}"


def exponential(body: Math) -> Math:
    """Write e to the power of something, or exp(…) where that reads better."""
    spoken = call("exp", (body,))
    latex = spoken.latex if body.width > BULKY else f"e^{{{_script(body)}}}"
    return spoken._replace(kind="exponential", latex=latex)


def call(function: str, arguments: Sequence[Math], sub: str = "") -> Math:
    """Write a named function of its arguments."""
    head = name(function, sub)
    if len(function) == 1:
        return _called(head.line, head.latex, arguments)
    latex = f"\\{function}" if function in _COMMON else rf"\operatorname{{{function}}}"
    return _called(head.line, f"{latex}_{{{sub}}}" if sub else latex, arguments)


def _called(head: str, latex: str, arguments: Sequence[Math]) -> Math:
    pieces: list[str | Box] = []
    for argument in arguments:
        short = columns(argument.line) <= SHORT_ARGUMENT
        pieces += [", "] if pieces else []
        pieces.append(_flat(argument) if short else argument.box)
    return _math(
        "call",
        f"{head}({', '.join(argument.line for argument in arguments)})",
        rf"{latex}\left({', '.join(argument.latex for argument in arguments)}\right)",
        beside([head, _enclosed(beside(pieces), "(", ")")]),
        (head, latex, *arguments),
    )


def root(body: Math, degree: int = 2) -> Math:
    """Write a square or a cube root."""
    bare = body.kind in ("letter", "word", "number") and columns(body.line) <= 2
    line = {2: "√", 3: "∛"}[degree] + (body.line if bare else f"({body.line})")
    return _math("root", line, f"\\sqrt{'' if degree == 2 else '[3]'}{{{body.latex}}}")


def brackets(body: Math, left: str = "(", right: str = ")") -> Math:
    """Write something in brackets of any kind."""
    latex = rf"\left{_FENCES.get(left, left)}{body.latex}\right{_FENCES.get(right, right)}"
    box = _enclosed(body.box, left, right)
    return _math("brackets", f"{left}{body.line}{right}", latex, box)


def summation(index: str, count: Math, body: Math) -> Math:
    """Write the sum of ``body`` over rows, ``index`` from 1 to ``count``."""
    width = max(3, columns(count.line))
    sign = Box(tuple(line.center(width) for line in (count.line, "∑", f"{index}=1")), 1)
    latex = rf"\sum_{{{index}=1}}^{{{count.latex}}} {body.latex}"
    line = f"∑{_SUBSCRIPTS.get(index, index)} {body.line}"
    return _math("summation", line, latex, beside([sign, " ", body.box]))


def cases(branches: Sequence[tuple[Math, Math | None]]) -> Math:
    """Write values, each with its condition; the last may have none."""
    width = max(value.width for value, _ in branches)
    when = [f"if {condition.line}" if condition else "otherwise" for _, condition in branches]
    lines: list[str] = []
    for (value, _), told in zip(branches, when, strict=True):
        lines += beside([value.box, " " * (width - value.width + 3) + told]).lines
    lines = lines if len(lines) > 2 else [lines[0], "", lines[1]]
    rows = [
        f"{value.latex} & " + (rf"\text{{if }} {c.latex}" if c else r"\text{otherwise}")
        for value, c in branches
    ]
    return _math(
        "cases",
        "{"
        + "; ".join(f"{v.line} {told}" for (v, _), told in zip(branches, when, strict=True))
        + "}",
        "\\begin{cases} " + r" \\ ".join(rows) + " \\end{cases}",
        _enclosed(filled(lines, len(lines) // 2), "{", ""),
    )


def relation(left: Math, sign: str, right: Math) -> Math:
    """Write a comparison."""
    line = f"{left.line} {sign} {right.line}"
    return _math("relation", line, f"{left.latex} {RELATIONS[sign]} {right.latex}")


def junction(word: str, parts: Sequence[Math]) -> Math:
    """Write conditions joined by ``and`` or ``or``."""
    latex = [rf"\left({p.latex}\right)" if p.kind == "junction" else p.latex for p in parts]
    line = f" {word} ".join(_closed(part, "junction") for part in parts)
    return _math("junction", line, rf" \text{{ {word} }} ".join(latex))


def negation(part: Math) -> Math:
    """Write that a condition does not hold."""
    return _math("junction", f"not ({part.line})", rf"\text{{not }} \left({part.latex}\right)")


def partial(body: Math) -> Math:
    """Write the ∂ before what is differentiated."""
    return _math("partial", f"∂{body.line}", rf"\partial {body.latex}")


# Boxes


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


def beside(pieces: Iterable[str | Box]) -> Box:
    """Set boxes and words beside one another, base lines aligned."""
    boxes = [Box((piece,)) if isinstance(piece, str) else piece for piece in pieces]
    above = max(box.base for box in boxes)
    below = max(len(box.lines) - box.base for box in boxes)
    padded = []
    for lines, base in boxes:
        empty = (" " * columns(lines[0]),)
        padded.append(empty * (above - base) + lines + empty * (below - len(lines) + base))
    return Box(tuple(map("".join, zip(*padded, strict=True))), above)


def padded(text: str, width: int, side: str = "<") -> str:
    """Fill ``text`` up to ``width`` columns, so that it stands left (<), right (>) or amid (^)."""
    return f"{text:{side}{width + len(text) - columns(text)}}"


def filled(lines: Sequence[str], base: int = 0, side: str = "<") -> Box:
    """Fill lines up to one width."""
    width = max(map(columns, lines))
    return Box(tuple(padded(line, width, side) for line in lines), base)


def _enclosed(box: Box, left: str, right: str) -> Box:
    """Set brackets of the box's height around it; an empty string sets none."""
    return beside([_bracket(left, box), box, _bracket(right, box)])


def _bracket(sign: str, box: Box) -> str | Box:
    height = len(box.lines)
    if height == 1 or not sign:
        return sign
    if sign == "{":
        lines = ["⎪ "] * height
        lines[0], lines[height // 2], lines[-1] = "⎧ ", "⎨ ", "⎩ "
        return Box(tuple(lines), height // 2)
    top, middle, bottom = list(_TALL[sign])
    return Box((top, *[middle] * (height - 2), bottom), box.base)


# Names


def spellings(raws: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the stem and subscript of each name; two that would look alike stay as they are.

    Greek letters are drawn, and trailing figures are a subscript.

    Examples
    --------
    >>> spellings(["lambda", "x0", "k_on", "growth_rate"])
    {'lambda': ('λ', ''), 'x0': ('x', '0'), 'k_on': ('k', 'on'), 'growth_rate': ('growth_rate', '')}
    """
    spelled = {raw: _spelled(raw) for raw in raws}
    looks = list(spelled.values())
    return {raw: (raw, "") if looks.count(look) > 1 else look for raw, look in spelled.items()}


def _spelled(raw: str) -> tuple[str, str]:
    shown = "".join(c if c.isprintable() else "\ufffd" for c in raw)
    parts = re.fullmatch(r"([^\W\d_]+)(?:_?(\d+)|_([^\W_]+))", shown)
    if parts is None:
        return GREEK.get(shown, shown), ""
    stem, sub = GREEK.get(parts[1], parts[1]), parts[2] or parts[3]
    if len(stem) > 1 and parts[3]:
        return shown, ""  # growth_rate is one word, k_on is a k
    return stem, GREEK.get(sub, sub)


def free_letter(candidates: Sequence[str], taken: set[str]) -> str:
    """Return the first of ``candidates`` that is not taken, or the first with a prime.

    Examples
    --------
    >>> free_letter("Nn", {"N", "a"})
    'n'
    """
    free = (letter for letter in candidates if letter not in taken)
    return next(free, candidates[0] + "′")


def latex_text(plain: str, command: str = "text") -> str:
    r"""Return ``plain`` as upright text within mathematics, whatever is in it.

    Examples
    --------
    >>> print(latex_text("50% done"))
    \text{50}{\%}\text{ done}
    """
    special = "".join(map(re.escape, _SPECIAL))
    pieces = re.findall(f"[{special}]|[^{special}]+", plain)
    return "".join(_SPECIAL.get(piece) or f"\\{command}{{{piece}}}" for piece in pieces)
