"""How names are written: Greek letters drawn, figures at the end as a subscript."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sgdfit.derivation.notation import Name

__all__ = ["GREEK", "free_letter", "name_of", "names_of"]

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
