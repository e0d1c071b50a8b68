"""Mathematical notation as a tree of facts, which the layouts draw as text, LaTeX or MathML.

A node says what is written, brackets included; how it is drawn is up to a layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

MINUS = "−"


class Node:
    """Anything that can be drawn."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A name such as x, τ or mass, with a subscript of its own and the index of its row."""

    text: str
    sub: str = ""
    index: str = ""
    hat: bool = False


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A number that is not negative, as Python writes it: ``3``, ``0.25`` or ``1.5e-07``."""

    text: str


@dataclass(frozen=True, slots=True)
class Terms(Node):
    """A sum: terms with their signs."""

    items: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Product(Node):
    """Two or more factors beside each other."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fraction(Node):
    """One thing over another."""

    top: Node
    bottom: Node


@dataclass(frozen=True, slots=True)
class Power(Node):
    """A base with an exponent."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Exponential(Node):
    """e to the power of something, or exp(…) where that reads better."""

    body: Node


@dataclass(frozen=True, slots=True)
class Root(Node):
    """A square root, or that of another degree."""

    body: Node
    degree: int = 2


@dataclass(frozen=True, slots=True)
class Fence(Node):
    """Something in brackets of any kind."""

    body: Node
    left: str = "("
    right: str = ")"


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A named function of its arguments."""

    function: Name
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Total(Node):
    """The sum of ``body`` over rows, ``index`` from 1 to ``count``."""

    index: str
    count: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Cases(Node):
    """Values, each with its condition; the last may have none."""

    branches: tuple[tuple[Node, Node | None], ...]


@dataclass(frozen=True, slots=True)
class Relation(Node):
    """A comparison of two things, or an arrow from one to another."""

    left: Node
    sign: str
    right: Node


@dataclass(frozen=True, slots=True)
class Junction(Node):
    """Conditions joined by ``and`` or ``or``, or one after ``not``."""

    word: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Partial(Node):
    """The ∂ before what is differentiated."""

    body: Node


@dataclass(frozen=True, slots=True)
class Equation:
    """``left = right = right …``, with a word of comment."""

    left: Node
    rights: tuple[Node, ...]
    sign: str = "="
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Node | str, ...], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a derivation: a title, sentences with notation in them, equations, a table."""

    title: str
    says: tuple[str | Node, ...] = ()
    equations: tuple[Equation, ...] = ()
    table: Table | None = None
    remark: tuple[str | Node, ...] = ()


def fenced(node: Node) -> Node:
    """Return ``node`` in brackets where it would fall apart in a product."""
    return Fence(node) if isinstance(node, Terms | Cases | Relation | Junction) else node


def open_ended(node: Node) -> bool:
    """Whether ``node`` ends in cases, so that what follows would seem to belong to the last."""
    last = node.factors[-1] if isinstance(node, Product) else node
    return isinstance(last, Cases)


def separator(left: Node, right: Node) -> str:
    """Return what stands between two factors: ``""``, ``"thin"`` or ``"dot"``.

    Examples
    --------
    >>> separator(Number("2"), Name("a")), separator(Name("a"), Name("mass"))
    ('', 'dot')
    """
    if isinstance(left, Number):
        digits = isinstance(_first(right), Number) or "e" in left.text
        wordy = isinstance(_first(right), Name) and len(_first(right).text) > 1  # type: ignore[attr-defined]
        if isinstance(right, Call | Exponential):
            return "thin"
        return "dot" if digits or wordy or isinstance(right, Fraction) else ""
    if any(isinstance(_first(n), Name) and len(_first(n).text) > 1 for n in (left, right)):  # type: ignore[attr-defined]
        return "dot"
    return "dot" if isinstance(_first(right), Number) else "thin"


def slashed(node: Node) -> tuple[Node, Node] | None:
    """Return both sides of a fraction as they stand beside a slash; None for anything else."""
    if not isinstance(node, Fraction) or isinstance(node.top, Cases | Fraction):
        return None
    split = isinstance(node.bottom, Product | Fraction)
    return fenced(node.top), Fence(node.bottom) if split else fenced(node.bottom)


def _first(node: Node) -> Node:
    while isinstance(node, Power):
        node = node.base
    return node


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes that ``node`` is made of."""
    for field in fields(node):  # type: ignore[arg-type]
        yield from _nodes(getattr(node, field.name))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)


def breadth(nodes: Node | Iterable[Node]) -> int:
    """Return about how many characters wide something is when it is typeset.

    Examples
    --------
    >>> breadth(Fraction(Name("mass"), Name("x")))
    4
    """
    if not isinstance(nodes, Node):
        return sum(map(breadth, nodes))
    if isinstance(nodes, Name):
        return len(nodes.text) + (len(nodes.sub) + len(nodes.index) + 1) // 2
    if isinstance(nodes, Number):
        return len(nodes.text)
    if isinstance(nodes, Fraction):
        return max(breadth(nodes.top), breadth(nodes.bottom))
    if isinstance(nodes, Power):
        return breadth(nodes.base) + (breadth(nodes.exponent) + 1) // 2
    if isinstance(nodes, Total):
        return 3 + breadth(nodes.body)
    if isinstance(nodes, Cases):
        return 4 + max(6 + breadth(v) + (breadth(c) if c else 6) for v, c in nodes.branches)
    own = {Terms: 0, Call: 2, Fence: 1, Relation: 3, Root: 2, Exponential: 1, Partial: 1}
    total = own.get(type(nodes), 1) + breadth(children(nodes))
    if isinstance(nodes, Call):
        return total
    return total + (3 * len(nodes.items) - 3 if isinstance(nodes, Terms) else 0)


_SMALL = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
    " sigma tau upsilon phi chi psi omega"
)
_LARGE = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_LETTERS = "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
GREEK = dict(zip(f"{_SMALL} {_LARGE}".split(), _LETTERS, strict=True))


def name_of(raw: str, index: str = "") -> Name:
    """Return how a name is written: Greek letters drawn, trailing figures as a subscript.

    Examples
    --------
    >>> name_of("lambda"), name_of("x0").sub, name_of("k_on").sub
    (Name(text='λ', sub='', index='', hat=False), '0', 'on')
    """
    shown = "".join(c if c.isprintable() else "\ufffd" for c in raw)
    parts = re.fullmatch(r"([^\W\d_]+)(?:_?(\d+)|_([^\W_]+))", shown)
    if parts is None:
        return Name(GREEK.get(shown, shown), "", index)
    stem, sub = GREEK.get(parts[1], parts[1]), parts[2] or parts[3]
    if len(stem) > 1 and parts[3]:
        return Name(shown, "", index)  # growth_rate is one word, k_on is a k
    return Name(stem, GREEK.get(sub, sub), index)


def names_of(raws: Iterable[str], indexed: Iterable[str], index: str) -> dict[str, Name]:
    """Return how each name is written; two that would look the same keep their own spelling."""
    indexed = set(indexed)
    names = {raw: name_of(raw, index if raw in indexed else "") for raw in dict.fromkeys(raws)}
    looks = [(name.text, name.sub) for name in names.values()]
    return {
        raw: Name(raw, "", name.index) if looks.count((name.text, name.sub)) > 1 else name
        for raw, name in names.items()
    }


def free_letter(candidates: Sequence[str], taken: set[str]) -> str:
    """Return the first of ``candidates`` that is not taken, or the first with a prime.

    Examples
    --------
    >>> free_letter("Nn", {"N", "a"})
    'n'
    """
    free = (letter for letter in candidates if letter not in taken)
    return next(free, candidates[0] + "′")
