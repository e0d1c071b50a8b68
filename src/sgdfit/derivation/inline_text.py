"""Notation in one line of Unicode, and where such a line may be broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from sgdfit.derivation.boxes import columns
from sgdfit.derivation.notation import (
    MINUS,
    Call,
    Cases,
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
    Terms,
    Total,
    separator,
)

__all__ = ["DOT", "broken", "inline", "leading_sign", "superscript", "wrapped"]

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
