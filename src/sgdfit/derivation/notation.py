"""Mathematics as it is written, in one line, stacked and in LaTeX: each operation, expressions."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import sympy

from sgdfit.formula.external import Call
from sgdfit.formula.real import Absolute, Where

Expr = Any  # SymPy ships no types

MINUS = "−"
BULKY = 18  # breadth from which exp(…) reads better than a power of e
SHORT_ARGUMENT = 24  # columns up to which a function's argument stands on one line

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ",
    "omicron": "ο", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Upsilon": "Υ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_COMMANDS = {letter: f"\\{word} " for word, letter in GREEK.items()} | {
    "ο": "o", "ŷ": r"\hat{y}", "ℓ": r"\ell ", "ℒ": r"\mathcal{L}",
}  # fmt: skip
_SUPERSCRIPTS, _SUBSCRIPTS = (
    {unicodedata.normalize("NFKC", small): small for small in letters}
    for letters in (
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵝᵞᵟᵠᵡ",
        "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ",
    )
)
_TALL = {
    "(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "|": "│││",
    "⌊": "││⌊", "⌋": "││⌋", "⌈": "⌈││", "⌉": "⌉││",
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


class Picture(NamedTuple):
    """Lines of equal width, one of which is the base line."""

    lines: tuple[str, ...]
    base: int = 0


class Math(NamedTuple):
    """A piece of mathematics, written in three ways."""

    kind: str  # what it is: this decides the brackets and the signs around it
    line: str  # in one line
    latex: str
    picture: Picture  # stacked; its width serves for that of the LaTeX too
    parts: tuple[Any, ...] = ()  # a sum's signed terms, a product's factors, a fraction's sides, …

    @property
    def width(self) -> int:
        """Columns that it takes, stacked."""
        return columns(self.picture.lines[0])


class Equation(NamedTuple):
    """``left = right = right …``, with a word of comment."""

    left: Math
    rights: tuple[Math, ...]
    sign: str = "="
    note: str = ""


class DerivationStep(NamedTuple):
    """A title, sentences with mathematics, equations, and a table whose first row is its head."""

    title: str
    says: Sequence[str | Math] = ()
    equations: Sequence[Equation] = ()
    table: Sequence[Sequence[str | Math]] = ()
    remark: Sequence[str | Math] = ()


def _flat(kind: str, line: str, latex: str) -> Math:
    """Return what stands in one line even where others are stacked."""
    return Math(kind, line, latex, Picture((line,)))


def _joined(kind: str, pieces: Sequence[Math], parts: Iterable[Any] = ()) -> Math:
    """Set pieces beside one another."""
    line, latex = "".join(p.line for p in pieces), "".join(p.latex for p in pieces)
    return Math(kind, line, latex, beside([p.picture for p in pieces]), tuple(parts))


# Names and numbers


def name(stem: str, sub: str = "", index: str = "") -> Math:
    """Write a name such as x, τ or mass, with a subscript of its own and the index of its row."""
    low = "".join(_SUBSCRIPTS.get(c, "\0") for c in sub)
    text = stem + (sub if sub[:1] == "[" else f"_{sub}" if "\0" in low else low)
    sub = sub[1:-1] if sub[:1] == "[" else sub
    text += _SUBSCRIPTS.get(index, f"[{index}]") if index else ""
    latex = _word(stem)
    lows = ",".join(filter(None, (_word(sub) if sub else "", index)))
    kind = "word" if len(stem) > 1 else "letter"
    return _flat(kind, text, f"{latex}_{{{lows}}}" if lows else latex)


def _word(word: str) -> str:
    if word in _COMMANDS:
        return _COMMANDS[word]
    if (len(word) == 1 and word.isascii() and word.isalpha()) or word.isdigit():
        return word
    return rf"\mathrm{{{word}}}" if word.isascii() and word.isalnum() else f"{{{latex_text(word)}}}"


def latex_text(plain: str, command: str = "text") -> str:
    """Return ``plain`` as upright text within mathematics, whatever is in it."""
    special = "".join(map(re.escape, _SPECIAL))
    pieces = re.findall(f"[{special}]|[^{special}]+", plain)
    return "".join(_SPECIAL.get(piece) or f"\\{command}{{{piece}}}" for piece in pieces)


def spellings(raws: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the stem and subscript of each name; two that would look alike stay as they are.

    Greek letters are drawn, and trailing figures are a subscript.
    """
    spelled = {raw: _spelled(raw) for raw in raws}
    looks = Counter(spelled.values())
    return {raw: (raw, "") if looks[look] > 1 else look for raw, look in spelled.items()}


def _spelled(raw: str) -> tuple[str, str]:
    shown = "".join(c if c.isprintable() else "\ufffd" for c in raw)
    if level := re.fullmatch(r"([^\W\d_]+)(\[.+\])", shown):
        return GREEK.get(level[1], level[1]), level[2]
    parts = re.fullmatch(r"([^\W\d_]+)(?:_?(\d+)|_([^\W_]+))", shown)
    if parts is None:
        return GREEK.get(shown, shown), ""
    stem, sub = GREEK.get(parts[1], parts[1]), parts[2] or parts[3]
    if len(stem) > 1 and parts[3]:
        return shown, ""  # growth_rate is one word, k_on is a k
    return stem, GREEK.get(sub, sub)


def free_letter(candidates: Sequence[str], taken: set[str]) -> str:
    """Return the first of ``candidates`` that is not taken, or the first with a prime."""
    free = (letter for letter in candidates if letter not in taken)
    return next(free, candidates[0] + "′")


def figures(digits: str) -> Math:
    """Write a number that is not negative, as Python does: ``3``, ``0.25`` or ``1.5e-07``."""
    text, e, exponent = digits.partition("e")
    if not e:
        return _flat("number", text, text)
    small = "".join(_SUPERSCRIPTS[c] for c in str(int(exponent)).replace("-", MINUS))
    return _flat("number", f"{text}×10{small}", rf"{text} \times 10^{{{int(exponent)}}}")


ONE = figures("1")


def number(value: float, digits: int = 6) -> Math:
    """Write a number rounded to ``digits`` significant ones, with its sign."""
    return signed("-" if value < 0 else "+", figures(f"{abs(value):.{digits}g}"))


# Sums and products


def add(items: Iterable[tuple[str, Math]]) -> Math:
    """Join terms with their signs, opening those that are sums themselves."""
    terms: list[tuple[str, Math]] = []
    for sign, part in items:
        if part.kind == "sum" and sign == "+":
            terms += part.parts
        else:
            terms.append((sign, part if _open_ended(part) else _fenced(part)))
    pieces = []
    for i, (sign, part) in enumerate(terms):
        if _open_ended(part) and i < len(terms) - 1:
            terms[i] = (sign, brackets(part))
        lead = leading_sign(sign, i == 0)
        pieces += [_flat("sign", lead.replace("-", MINUS), lead), terms[i][1]]
    return _joined("sum", pieces, terms)


def signed(sign: str, part: Math) -> Math:
    """Return ``part``, or minus it."""
    return add([(sign, part)]) if sign == "-" else part


def leading_sign(sign: str, first: bool) -> str:
    """Return a term's sign with the space that it takes."""
    return ("" if sign == "+" else sign) if first else f" {sign} "


def times(factors: Iterable[Math]) -> Math:
    """Join factors, opening those that are products themselves, in brackets where needed."""
    opened = [f for part in factors for f in (part.parts if part.kind == "product" else [part])]
    flat = [factor for factor in opened if factor.line != "1"] or [ONE]
    if len(flat) == 1:
        return flat[0]
    flat = [*map(_fenced, flat[:-1]), flat[-1] if flat[-1].kind == "cases" else _fenced(flat[-1])]
    pieces = [flat[0]]
    for left, right in pairwise(flat):
        pieces += [_flat("sign", *_between(left, right)), right]
    return _joined("product", pieces, flat)


def _between(left: Math, right: Math) -> tuple[str, str]:
    """Return what stands between two factors in text and in LaTeX: ``2a`` but ``a·mass``."""
    if right.kind == "summation":
        return " ", r"\, "
    if "fraction" in (left.kind, right.kind):
        return " · ", r"\, "
    thin, dot = ("·", r"\,"), ("·", r" \cdot ")
    begins, ends = (p.parts[0].kind if p.kind == "power" else p.kind for p in (right, left))
    if left.kind == "number":
        if right.kind in ("call", "exponential"):
            return thin
        return dot if begins in ("number", "word") or "×" in left.line else ("", "")
    return dot if begins == "number" or "word" in (begins, ends) else thin


def _fenced(part: Math) -> Math:
    # It would fall apart in a product.
    loose = part.kind in ("sum", "cases", "relation", "junction")
    return brackets(part) if loose else part


def _open_ended(part: Math) -> bool:
    """Whether it ends in cases, so that what follows would seem to belong to the last."""
    return (part.parts[-1] if part.kind == "product" else part).kind == "cases"


# Everything else that is drawn


def over(top: Math, bottom: Math) -> Math:
    """Write a fraction."""
    line = f"{_closed(top, 'sum')}/{_closed(bottom, 'sum', 'product', 'fraction')}"
    above, below = _in_one_line(top).picture.lines, _in_one_line(bottom).picture.lines
    rule = "─" * max(columns(above[0]), columns(below[0]))
    picture = align_lines([*above, rule, *below], len(above), "^")
    latex = f"\\frac{{{top.latex}}}{{{bottom.latex}}}"
    return Math("fraction", line, latex, picture, (top, bottom))


def _closed(part: Math, *kinds: str) -> str:
    return f"({part.line})" if part.kind in kinds else part.line


def _in_one_line(part: Math) -> Math:
    """Return ``part`` on one line, unless there are cases in it."""
    return part if "{" in part.line else part._replace(picture=Picture((part.line,)))


def power(base: Math, exponent: Math) -> Math:
    """Write ``base`` with an exponent: in raised characters where Unicode has them."""
    above = "".join(_SUPERSCRIPTS.get(c, "\0") for c in exponent.line)
    above = "" if len(above) > 3 or "\0" in above else above
    if base.kind == "call" and exponent.kind == "number" and above:
        head, *arguments = base.parts
        latex = f"{head.latex}^{{{exponent.latex}}}"
        return _called(_flat("word", head.line + above, latex), arguments)
    plain = base.kind in ("letter", "word", "call", "brackets", "number") and "×" not in base.line
    base = base if plain else brackets(base)
    side, foot = above or exponent.line, base.picture.base + (not above)
    raised = Picture((side, *[" " * columns(side)] * foot), foot)
    shown = above or "^" + _closed(exponent, "sum", "product", "fraction", "power")
    latex = f"{base.latex}^{{{_script(exponent)}}}"
    picture = beside([base.picture, raised])
    return Math("power", base.line + shown, latex, picture, (base, exponent))


def _script(part: Math) -> str:
    """Write an exponent in LaTeX: its fractions with a slash, since stacked ones get too small."""
    if part.kind == "sum":
        terms = enumerate(part.parts)
        return "".join(leading_sign(sign, i == 0) + _script(term) for i, (sign, term) in terms)
    if part.kind != "fraction":
        return part.latex
    top, bottom = part.parts
    bottom = brackets(bottom) if bottom.kind in ("product", "fraction") else _fenced(bottom)
    return f"{_fenced(top).latex}/{bottom.latex}"


def exponential(body: Math) -> Math:
    """Write e to the power of something, or exp(…) where that reads better."""
    spoken = call("exp", (body,))
    latex = spoken.latex if body.width > BULKY else f"e^{{{_script(body)}}}"
    return spoken._replace(kind="exponential", latex=latex)


def call(function: str, arguments: Sequence[Math], sub: str = "") -> Math:
    """Write a named function of its arguments."""
    head = name(function, sub)
    if len(function) > 1:
        escaped = function.replace("_", r"\_")
        latex = f"\\{function}" if function in _COMMON else rf"\operatorname{{{escaped}}}"
        head = head._replace(latex=f"{latex}_{{{_word(sub)}}}" if sub else latex)
    return _called(head, arguments)


def _called(head: Math, arguments: Sequence[Math]) -> Math:
    inside: list[Math] = []
    for argument in arguments:
        short = columns(argument.line) <= SHORT_ARGUMENT
        inside += [_flat("sign", ", ", ", ")] if inside else []
        inside.append(_in_one_line(argument) if short else argument)
    return _joined("call", [head, brackets(_joined("arguments", inside))], (head, *arguments))


def _root(body: Math, sign: str, degree: str = "") -> Math:
    bare = body.kind in ("letter", "word", "number") and columns(body.line) <= 2
    line = sign + (body.line if bare else f"({body.line})")
    return _flat("root", line, f"\\sqrt{degree}{{{body.latex}}}")


def brackets(body: Math, left: str = "(", right: str = ")") -> Math:
    """Write something in brackets of any kind."""
    latex = rf"\left{_FENCES.get(left, left)}{body.latex}\right{_FENCES.get(right, right)}"
    picture = beside([_bracket(left, body.picture), body.picture, _bracket(right, body.picture)])
    return Math("brackets", f"{left}{body.line}{right}", latex, picture)


def _bracket(sign: str, inside: Picture) -> Picture:
    height = len(inside.lines)
    if height == 1:
        return Picture((sign,))
    top, middle, bottom = list(_TALL[sign])
    return Picture((top, *[middle] * (height - 2), bottom), inside.base)


def summation(index: str, count: Math, body: Math) -> Math:
    """Write the sum of ``body`` over rows, ``index`` from 1 to ``count``."""
    width = max(3, columns(count.line))
    sign = Picture(tuple(line.center(width) for line in (count.line, "∑", f"{index}=1")), 1)
    latex = rf"\sum_{{{index}=1}}^{{{count.latex}}} {body.latex}"
    line = f"∑{_SUBSCRIPTS.get(index, index)} {body.line}"
    return Math("summation", line, latex, beside([sign, Picture((" ",)), body.picture]))


def _cases(branches: Sequence[tuple[Math, Math | None]]) -> Math:
    """Write values, each with its condition; the last may have none."""
    width = max(value.width for value, _ in branches)
    shown, rows = [], []
    drawn: list[str] = []
    for value, condition in branches:
        told = f"if {condition.line}" if condition else "otherwise"
        shown.append(f"{value.line} {told}")
        drawn += beside([value.picture, Picture((" " * (width - value.width + 3) + told,))]).lines
        latex = rf"\text{{if }} {condition.latex}" if condition else r"\text{otherwise}"
        rows.append(f"{value.latex} & {latex}")
    drawn = drawn if len(drawn) > 2 else [drawn[0], "", drawn[1]]
    brace, middle = ["⎪ "] * len(drawn), len(drawn) // 2
    brace[0], brace[middle], brace[-1] = "⎧ ", "⎨ ", "⎩ "
    picture = beside([Picture(tuple(brace), middle), align_lines(drawn, middle)])
    latex = "\\begin{cases} " + r" \\ ".join(rows) + " \\end{cases}"
    return Math("cases", "{" + "; ".join(shown) + "}", latex, picture)


def relation(left: Math, sign: str, right: Math) -> Math:
    """Write a comparison."""
    line = f"{left.line} {sign} {right.line}"
    return _flat("relation", line, f"{left.latex} {RELATIONS[sign]} {right.latex}")


def partial(body: Math) -> Math:
    """Write the ∂ before what is differentiated."""
    return _flat("partial", f"∂{body.line}", rf"\partial {body.latex}")


# SymPy's expressions

# Names of functions that differ from those of SymPy's classes and ours.
_NAMES = {
    "log": "ln", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arsinh",
    "acosh": "arcosh", "atanh": "artanh", "Sign": "sgn", "sign": "sgn", "Maximum": "max",
    "Minimum": "min", "gamma": "Γ", "erfcx_slope": "erfcx'", "sinc_slope": "sinc'",
}  # fmt: skip
_BRACKETS = {"Absolute": "||", "Abs": "||", "Floor": "⌊⌋", "Ceil": "⌈⌉"}
_SIGNS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}
_AFTER = 10**6  # ranks what was not named after everything that was


@dataclass(frozen=True)
class Writer:
    """Writes expressions.

    Terms follow the first of their symbols by ``rank``, the residual's below 0; factors that are
    ``leading`` symbols, the parameters, come before the others.
    """

    names: Mapping[Expr, Math]  # how each symbol is written
    rank: Mapping[Expr, int]
    leading: frozenset[Expr]
    logistic: str

    def write(self, expression: Expr) -> Math:
        """Return ``expression`` as it is written."""
        return signed(*self.signed(expression))

    def signed(self, expression: Expr) -> tuple[str, Math]:
        """Return the sign (``+`` or ``-``) of one term, and how the rest is written."""
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Number:
            return ("-" if expression.is_negative else "+"), _number(abs(expression))
        return "+", self._plain(expression)

    def _plain(self, expression: Expr) -> Math:
        kind, arguments = expression.func, expression.args
        if expression.is_Symbol or expression in self.names:
            return self.names[expression]
        if expression.is_Add:
            items = [self.signed(term) for term in sorted(arguments, key=self._first)]
            lead = next((i for i, (sign, _) in enumerate(items) if sign == "+"), 0)
            if items[0][0] == "-":
                items.insert(0, items.pop(lead))  # 1 − x rather than −x + 1
            # Cases last: they need no brackets there.
            return add(sorted(items, key=lambda item: _open_ended(item[1])))
        if expression.is_Pow:
            return self._power(expression)
        if expression.is_NumberSymbol:
            return name({sympy.pi: "π", sympy.E: "e"}[expression])
        if kind is Where:
            return self._where(*arguments)
        if kind in (sympy.And, sympy.Or):
            upper = (sympy.Lt, sympy.Le)  # x > 1 and x ≤ 2: the lower limit comes first
            parts = sorted(arguments, key=lambda a: (self._first(a), a.func in upper, str(a)))
            word, shown = f" {kind.__name__.lower()} ", [self.write(part) for part in parts]
            line = word.join(_closed(part, "junction") for part in shown)
            inner = [rf"\left({p.latex}\right)" if p.kind == "junction" else p.latex for p in shown]
            return _flat("junction", line, rf" \text{{{word}}} ".join(inner))
        if kind in (Absolute, sympy.Abs) and self._starts_negative(arguments[0]):
            arguments = (-arguments[0],)
        parts = [self.write(argument) for argument in arguments]
        if expression.is_Relational:
            return relation(parts[0], _SIGNS.get(expression.rel_op, expression.rel_op), parts[1])
        if isinstance(expression, Call):
            return call(expression.external.label, parts, expression.subscripts)
        return self._function(getattr(kind, "called", kind.__name__), parts)

    def _function(self, kind: str, parts: Sequence[Math]) -> Math:
        first, last = parts[0], parts[-1]
        match kind:
            case "exp":
                return exponential(first)
            case "expm1":
                return add([("+", exponential(first)), ("-", ONE)])
            case "log1p":
                return call("ln", [add([("+", ONE), ("+", first)])])
            case "Logaddexp":
                return call("ln", [add([("+", exponential(first)), ("+", exponential(last))])])
            case "Xlogy":
                return times([first, call("ln", [last])])
            case "log2" | "log10":
                return call("log", parts, sub=kind.removeprefix("log"))
            case "Cbrt":
                return _root(first, "∛", "[3]")
            case "Not":
                latex = rf"\text{{not }} \left({first.latex}\right)"
                return _flat("junction", f"not ({first.line})", latex)
            case "lgamma":
                return call("ln", [brackets(call("Γ", parts), "|", "|")])
            case "j0" | "j1" | "y0" | "y1" | "i0" | "i1" | "k0" | "k1":
                return call(kind[0].upper(), parts, sub=kind[1])
            case "jv" | "iv":
                return call(kind[0].upper(), parts[1:], sub=first.line)
            case "voigt_slope":  # partial derivatives, as subscripts
                n, m = int(first.line), int(parts[1].line)
                return call("voigt", parts[2:], sub="x" * n + "γ" * m)
            case "Logistic":
                return call(self.logistic, parts)
        if kind in _BRACKETS:
            return brackets(first, *_BRACKETS[kind])
        return call(_NAMES.get(kind, kind), parts)

    def _first(self, expression: Expr) -> int:
        return min((self.rank.get(s, _AFTER) for s in expression.free_symbols), default=_AFTER + 1)

    def _starts_negative(self, expression: Expr) -> bool:
        """Whether it is a difference whose term that the order puts first is taken away."""
        terms = sorted(expression.args, key=self._first) if expression.is_Add else []
        return [t.could_extract_minus_sign() for t in terms] == [True, False]

    def _product(self, expression: Expr) -> tuple[str, Math]:
        coefficient, rest = expression.as_coeff_Mul()
        negative = bool(coefficient.is_negative)
        factors = []
        for factor in sympy.Mul.make_args(rest):
            base, exponent = factor.as_base_exp() if factor.is_Pow else (factor, sympy.S.One)
            if exponent.is_Integer and self._starts_negative(base):
                negative ^= bool(exponent.is_odd)
                factor = sympy.Pow(-base, exponent)
            factors.append(factor)
        factors.sort(key=self._factor_key)
        top = [self.write(factor) for factor in factors if not _is_divisor(factor)]
        bottom = [self.write(1 / factor) for factor in factors if _is_divisor(factor)]
        upper, lower = abs(coefficient), sympy.S.One
        if upper.is_Rational:
            upper, lower = sympy.Integer(upper.p), sympy.Integer(upper.q)
        whole = times([_number(upper), *top])
        if lower != 1:
            bottom = [_number(lower), *bottom]
        return ("-" if negative else "+"), over(whole, times(bottom)) if bottom else whole

    def _factor_key(self, factor: Expr) -> tuple[int, int]:
        """Order factors: numbers, the residual; parameters, variables, functions of them, sums."""
        base = factor.as_base_exp()[0] if factor.is_Pow else factor
        first = self._first(factor)
        if base.is_NumberSymbol:
            return (0, -_AFTER)
        if first < 0:
            return (0, first)
        kind = 2 if base.is_Symbol else 4 if base.is_Add else 3
        return (1 if base in self.leading else kind, first)

    def _power(self, expression: Expr) -> Math:
        base, exponent = expression.base, expression.exp
        if _is_divisor(expression):
            return over(ONE, self.write(1 / expression))
        if exponent == sympy.S.Half:
            return _root(self.write(base), "√")
        if exponent.is_even and self._starts_negative(base):
            base = -base
        return power(self.write(base), self.write(exponent))

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Math:
        """Write cases, one below the other; Iverson's bracket for what is 1 or 0."""
        if {yes, no} == {sympy.S.One, sympy.S.Zero}:
            return brackets(self.write(condition if yes == 1 else sympy.Not(condition)), "[", "]")
        branches: list[tuple[Math, Math | None]] = [(self.write(yes), self.write(condition))]
        while no.func is Where and set(no.args[1:]) != {sympy.S.One, sympy.S.Zero}:
            condition, yes, no = no.args
            branches.append((self.write(yes), self.write(condition)))
        return _cases([*branches, (self.write(no), None)])


def _number(value: Expr) -> Math:
    if value.is_Rational and not value.is_Integer:
        return over(figures(str(value.p)), figures(str(value.q)))
    return figures(str(value) if value.is_Integer else f"{float(value):.6g}")


def _is_divisor(factor: Expr) -> bool:
    return bool(factor.is_Pow and factor.exp.is_number and factor.exp.is_negative)


# Pictures


def columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def beside(pictures: Sequence[Picture]) -> Picture:
    """Set pictures beside one another, base lines aligned."""
    above = max(picture.base for picture in pictures)
    below = max(len(picture.lines) - picture.base for picture in pictures)
    tall = []
    for lines, base in pictures:
        empty = (" " * columns(lines[0]),)
        tall.append(empty * (above - base) + lines + empty * (below - len(lines) + base))
    return Picture(tuple(map("".join, zip(*tall, strict=True))), above)


def padded(text: str, width: int, side: str = "<") -> str:
    """Fill ``text`` up to ``width`` columns, so that it stands left (<), right (>) or amid (^)."""
    return f"{text:{side}{width + len(text) - columns(text)}}"


def align_lines(lines: Sequence[str], base: int = 0, side: str = "<") -> Picture:
    """Fill lines up to one width."""
    width = max(map(columns, lines))
    return Picture(tuple(padded(line, width, side) for line in lines), base)
