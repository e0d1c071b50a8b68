"""A sum of components found one after another: the best partial sums are kept and extended.

Matching pursuit (S. Mallat and Z. Zhang, IEEE Trans. Signal Process. 41 (1993) 3397-3415) with
everything chosen so far solved anew (orthogonal least squares; S. Chen, S. A. Billings and W. Luo,
Int. J. Control 50 (1989) 1873-1896), in a beam of several partial sums instead of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sgdfit.starts.dictionary import Dictionary
from sgdfit.starts.partial import Partial, extended, scores, spread

__all__ = ["first_partial", "pursue"]

# How many partial sums are kept, and at least how many of each make-up.
WIDTH, LEAST = 32, 6


def first_partial(target: np.ndarray, plain: np.ndarray) -> Partial:
    """Return the sum that nothing is chosen for yet: the basis ``plain`` is fitted in any case."""
    span = extended(np.empty((0, len(target))), plain)
    return Partial({}, span, target - span.T @ (span @ target))


def pursue(start: Partial, books: Sequence[Dictionary], most: int) -> list[Partial]:
    """Return the best sums with an entry of each dictionary, best first.

    Parameters
    ----------
    start : Partial
    books : sequence of Dictionary
        One a component; components of the same form share one.
    most : int
        How many sums to return at most.
    """
    beam = [start]
    for depth in range(len(books)):
        last = depth == len(books) - 1
        beam = _extended(beam, books, most if last else WIDTH, each=3 if last else 2)
    return beam


def _extended(
    beam: Sequence[Partial], books: Sequence[Dictionary], width: int, each: int
) -> list[Partial]:
    """Extend every partial sum by every component that it lacks; keep the best of each make-up."""
    options: list[tuple[float, int, int, int]] = []
    for c, book in enumerate(books):
        able = [b for b, partial in enumerate(beam) if c in _lacking(partial, books)]
        losses = scores([beam[b] for b in able], book) if able else ()
        for b, own in zip(able, losses, strict=True):
            options += [(float(own[i]), b, c, i) for i in spread(own, book.cube, width, each)]
    makeups = {(b, c): _makeup(beam[b], c, books) for _, b, c, _ in options}
    share = max(width // len(set(makeups.values())), LEAST) if makeups else 0
    made: dict[object, Partial] = {}
    counts: Counter[object] = Counter()
    for _, b, c, i in sorted(options):
        if counts[makeups[b, c]] < share:
            partial = beam[b].entry(c, books[c], i)
            counts[makeups[b, c]] += partial.key(books) not in made
            made.setdefault(partial.key(books), partial)
    return sorted(made.values(), key=lambda partial: partial.loss)


def _makeup(partial: Partial, c: int, books: Sequence[Dictionary]) -> tuple[int, ...]:
    """Return the forms of the components of ``partial`` with ``c``."""
    return tuple(sorted(id(books[d]) for d in (*partial.chosen, c)))


def _lacking(partial: Partial, books: Sequence[Dictionary]) -> list[int]:
    """Return the components that are not chosen yet, one of each form."""
    left = [c for c in range(len(books)) if c not in partial.chosen]
    return [c for i, c in enumerate(left) if not any(books[d] is books[c] for d in left[:i])]
