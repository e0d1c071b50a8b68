"""One step of the recursion: the estimates with some further rows.

Where the loss is a quadratic of the parameters, its root is all there is to know of the past, and
the recursion is least squares itself (TSQR: Demmel, Grigori, Hoemmen & Langou 2012, SIAM J. Sci.
Comput. 34(1), A206-A239). Else the newest rows are kept as they came, so that their loss is looked
at wherever the estimates go, and those before them are folded into a quadratic (the iterated
extended Kalman filter: Bell & Cathey 1993, IEEE Trans. Automatic Control 38(2), 294-297). By then
the estimates move little; whether the quadratic still holds, a sample of its rows tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sgdfit.fits.trust_region import Box, Point, advance, begin
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.steps import step_within
from sgdfit.kernels.kernel import Chunk, Kernel, Rows
from sgdfit.models.model import Model
from sgdfit.streams.batches import Batch
from sgdfit.streams.buffer import Buffer
from sgdfit.streams.expansion import folded
from sgdfit.streams.forgetting import Forgetting
from sgdfit.streams.local import Local, both, looked_at, of_rows
from sgdfit.streams.reservoir import Reservoir, corrected, sampled
from sgdfit.streams.tally import Tally

__all__ = [
    "KEPT",
    "Memory",
    "Recursion",
    "absorbed",
    "distance",
    "fitted",
    "followed",
    "looked",
    "noise_of",
    "polished",
]

# Rows kept as they came.
KEPT = 16_384
# Up to so many are looked at anew at every step.
FEW = 256
# New rows are looked at by themselves, beside the known quadratic of those before, while they are
# no more than this, or this share, and the estimates moved by less than so many standard errors.
APART, SHARE, MOVED = 64, 8, 0.2
# From the minimum, in standard errors: after an update, and when the result is asked for.
NEAR, NEAREST = 1e-3, 1e-9
STEPS, RENEWALS = 100, 5
# Hessians are differences over this share of a standard error, and at least of a parameter.
REACH, ROUNDING = 0.3, 1e-6
NOTHING = np.empty(0, dtype=np.intp)


class Recursion(NamedTuple):
    """What never changes.

    Attributes
    ----------
    model : Model
    kernel : Kernel
    box : Box
        The bounds.
    forgetting : Forgetting
    squared, quadratic, robust : bool
        Whether the loss is the squared residual; whether it is a quadratic of all parameters; and
        whether errors come from the rows' own gradients.
    seed : int
    """

    model: Model
    kernel: Kernel
    box: Box
    forgetting: Forgetting
    squared: bool
    quadratic: bool
    robust: bool
    seed: int

    @property
    def bounded(self) -> bool:
        """Whether any parameter has a bound."""
        return not (np.isinf(self.box.low).all() and np.isinf(self.box.high).all())


class Memory(NamedTuple):
    """What is known of all rows so far. Nothing in it changes; a step returns another one.

    Attributes
    ----------
    tally : Tally
    kept : Buffer
        The newest rows.
    theta : float64[p] or None
        The estimates; None until there are any.
    whole : Local or None
        All rows, seen from there.
    past : Local or None
        Rows that are kept no more, seen from there.
    known : Local or None
        The first ``seen`` of the rows kept, seen from there.
    seen : int
    anchor : float64[p] or None
        Where these were looked at last.
    sample : Reservoir or None
        Of the past.
    mass : float
        How many rows the past stands for.
    checked : float64[p] or None
        Where the sample was last asked.
    start : float64[p] or None
        The fit of the first rows, from where the recursion went on.
    steps, visited : int
        Steps of the descent, and rows looked at.
    """

    tally: Tally
    kept: Buffer
    theta: np.ndarray | None = None
    whole: Local | None = None
    past: Local | None = None
    known: Local | None = None
    seen: int = 0
    anchor: np.ndarray | None = None
    sample: Reservoir | None = None
    mass: float = 0.0
    checked: np.ndarray | None = None
    start: np.ndarray | None = None
    steps: int = 0
    visited: int = 0


def noise_of(fixed: Recursion, local: Local, mass: float) -> float:
    """Return the variance of the gradient for a unit of curvature, twice that of a row of weight 1.

    The rows' losses at the minimum, over their number less that of what was fitted to them.
    """
    q = local.quadratic
    left = mass - fitted(fixed, local)
    total = 2 * q.least if fixed.squared else q.spread
    return max(total, q.blur) / left if left > 0 else np.inf


def fitted(fixed: Recursion, local: Local) -> float:
    """Return how many degrees of freedom the estimates take.

    With forgetting that is tr(H⁻¹M), M being Σ d²·w·JᵀJ beside H = Σ d·w·JᵀJ.
    """
    root = local.quadratic.root
    if fixed.robust or fixed.forgetting.factor == 1:
        return float(len(root))
    half = np.linalg.lstsq(root.T, local.middle, rcond=None)[0]
    return float(np.trace(np.linalg.lstsq(root, half.T, rcond=None)[0]))


def looked(fixed: Recursion, memory: Memory, batch: Batch) -> Rows:
    """Return the rows of a batch as the estimates before it see them."""
    theta = memory.theta
    if theta is None:
        theta = fixed.box.clip(np.zeros(len(fixed.model.free)))
    return fixed.kernel.rows(theta, Chunk(batch.columns, None))


def absorbed(fixed: Recursion, memory: Memory, batch: Batch, rows: Rows) -> Memory | None:
    """Return what is known with a batch of at most `KEPT` rows more; None where it has no loss.

    Parameters
    ----------
    rows : Rows
        Those of the batch, `looked` at.
    """
    n, forgetting = len(batch.weights), fixed.forgetting
    left = forgetting.after(n)
    memory = memory._replace(
        tally=memory.tally.with_rows(batch.weights, rows.target, forgetting),
        past=None if memory.past is None else memory.past.aged(left),
        known=None if memory.known is None else memory.known.aged(left),
        mass=memory.mass * left,
    )
    if fixed.quadratic:
        return _accumulated(fixed, memory, batch, rows)
    memory = memory._replace(kept=memory.kept.with_rows(batch.columns, batch.weights))
    return memory if memory.theta is None else followed(fixed, memory)


def _accumulated(fixed: Recursion, memory: Memory, batch: Batch, rows: Rows) -> Memory | None:
    """Add the rows' root to that of the past, and solve."""
    theta = fixed.box.clip(np.zeros(len(fixed.model.free)))
    theta = theta if memory.theta is None else memory.theta
    decay = fixed.forgetting.weights(len(batch.weights))
    local = of_rows(rows, batch.weights, decay, fixed.robust)
    if local is None:
        return None
    whole = local if memory.past is None else both(memory.past, local)
    moved, steps = _minimum(fixed, theta, whole.quadratic)
    whole = whole.moved(moved - theta)
    whole = whole._replace(squares=whole.quadratic.loss)
    return memory._replace(
        theta=moved,
        whole=whole,
        past=whole,
        steps=memory.steps + steps,
        visited=memory.visited + len(batch.weights),
    )


def _minimum(fixed: Recursion, theta: np.ndarray, quadratic: Quadratic) -> tuple[np.ndarray, int]:
    """Return where a quadratic is least within the bounds."""
    if not fixed.bounded:
        free = np.ones(len(theta), dtype=bool)
        return theta + step_within(quadratic, quadratic.norms, free, np.inf).move, 1

    def known(other: np.ndarray) -> Point:
        there = quadratic.after(other - theta)
        return Point(other, there, there, NOTHING)

    iterate = begin(known(theta))._replace(radius=np.inf)
    steps = 0
    while not iterate.rests and steps < STEPS:
        iterate, steps = advance(iterate, known, fixed.box), steps + 1
    return iterate.point.theta, steps


def followed(fixed: Recursion, memory: Memory) -> Memory | None:
    """Step to the minimum with the rows that have come, looking anew at as few as need be."""
    fresh = memory.kept.filled - memory.seen
    few = max(APART, memory.seen // SHARE)
    if memory.known is not None and memory.kept.filled > FEW and fresh <= few:
        near = _walked(fixed, memory, memory.seen)
        if near is not None and _moved(fixed, near) <= MOVED:
            return near
    found = _walked(fixed, memory, 0)
    if found is None:
        return None
    found = _checked(fixed, found)
    return _folded(fixed, found) if found.kept.filled >= KEPT else found


def polished(fixed: Recursion, memory: Memory) -> Memory:
    """Return the same rows, each of those kept looked at where the estimates are."""
    if fixed.quadratic or memory.theta is None or not memory.kept.filled:
        return memory
    return _walked(fixed, memory, 0, NEAREST) or memory


def _moved(fixed: Recursion, memory: Memory) -> float:
    """Return how far the estimates are from where the rows were looked at, in standard errors."""
    if memory.whole is None or memory.theta is None or memory.anchor is None:
        return np.inf
    noise = noise_of(fixed, memory.whole, memory.tally.mass)
    moved = memory.whole.quadratic.root @ (memory.theta - memory.anchor)
    return float(np.sqrt(moved @ moved / len(moved) / noise))


def _walked(fixed: Recursion, memory: Memory, first: int, near: float = NEAR) -> Memory | None:
    """Walk to the minimum, where rows of those kept from ``first`` on are looked at anew."""
    origin, mass = memory.theta, memory.tally.mass
    assert origin is not None  # the caller has looked
    columns, weights = memory.kept.rows(first)
    decay = fixed.forgetting.weights(len(weights))
    parts = [part for part in (memory.past, memory.known if first else None) if part is not None]
    quiet = both(*parts) if parts else None
    seen: dict[bytes, Local] = {}

    def evaluate(theta: np.ndarray) -> Point | None:
        found = looked_at(fixed.kernel, theta, columns, weights, decay, fixed.robust)
        if found is None:
            return None
        seen[theta.tobytes()] = found
        q = found.quadratic if quiet is None else both(quiet.moved(theta - origin), found).quadratic
        return Point(theta, q, q, NOTHING)

    walk = _descended(fixed, evaluate, origin, mass, near)
    if walk is None:
        return None
    theta, steps = walk
    found, away = seen[theta.tobytes()], theta - origin
    past = None if memory.past is None else memory.past.moved(away)
    known = both(memory.known.moved(away), found) if first and memory.known else found
    return memory._replace(
        theta=theta,
        whole=known if past is None else both(past, known),
        past=past,
        known=known,
        seen=memory.kept.filled,
        anchor=memory.anchor if first else theta,
        steps=memory.steps + steps,
        visited=memory.visited + len(seen) * len(weights),
    )


def _descended(
    fixed: Recursion,
    evaluate: Callable[[np.ndarray], Point | None],
    start: np.ndarray,
    mass: float,
    near: float,
) -> tuple[np.ndarray, int] | None:
    """Return the minimum and how many steps led there; None where the start has no loss."""
    with np.errstate(all="ignore"):
        point = evaluate(start)
        if point is None:
            return None
        iterate, steps = begin(point), 0
        while steps < STEPS and distance(fixed, point.theta, point.quadratic, mass) > near:
            iterate = advance(iterate, evaluate, fixed.box)
            if iterate.rests:
                break
            point, steps = iterate.point, steps + 1
    return point.theta, steps


def distance(fixed: Recursion, theta: np.ndarray, quadratic: Quadratic, mass: float) -> float:
    """Return how far a point is from its quadratic's minimum, in standard errors."""
    free = fixed.box.free(theta, quadratic.gradient)
    if not free.any():
        return 0.0
    step = step_within(quadratic, quadratic.norms, free, np.inf)
    gain = max(0.0, -quadratic.change(step.move))
    total = 2 * quadratic.least if fixed.squared else quadratic.spread - 2 * gain
    noise = max(total, quadratic.blur) / max(1.0, mass - len(theta))
    if gain == 0:
        return 0.0
    return float(np.sqrt(2 * gain / len(theta) / noise)) if noise > 0 else np.inf


def _folded(fixed: Recursion, memory: Memory) -> Memory:
    """Fold the rows that are kept into the past."""
    assert memory.theta is not None  # set by the walk that led here
    assert memory.known is not None
    columns, weights = memory.kept.rows()
    decay, held = fixed.forgetting.weights(len(weights)), np.array(columns)
    new, rows = folded(
        fixed.kernel, memory.known, memory.theta, held, weights * decay, _reach(fixed, memory)
    )
    before = memory.tally.used - len(weights)
    sample = sampled(memory.sample, held, weights, rows, before, fixed.forgetting, fixed.seed)
    return memory._replace(
        past=new if memory.past is None else both(memory.past, new),
        kept=Buffer.empty(len(columns)),
        known=None,
        seen=0,
        anchor=None,
        sample=sample,
        mass=memory.mass + float(decay.sum()),
    )


def _reach(fixed: Recursion, memory: Memory) -> np.ndarray:
    """Return a part of the standard error that each parameter has while the others are held."""
    assert memory.theta is not None
    assert memory.whole is not None
    norms, size = memory.whole.quadratic.norms, np.abs(memory.theta)
    noise = noise_of(fixed, memory.whole, memory.tally.mass)
    errors = np.sqrt(noise) / np.where(norms > 0, norms, np.inf)
    # Differences over less than this are rounding.
    return np.asarray(np.maximum(REACH * errors, ROUNDING * np.where(size > 0, size, 1.0)))


def _checked(fixed: Recursion, memory: Memory) -> Memory:
    """Ask the sample whether the past's quadratic holds where the estimates are; else renew it."""
    for _ in range(RENEWALS):
        theta, past, sample, whole = memory.theta, memory.past, memory.sample, memory.whole
        if theta is None or past is None or sample is None or whole is None:
            return memory
        noise = noise_of(fixed, whole, memory.tally.mass)
        if memory.checked is not None:
            away = whole.quadratic.root @ (theta - memory.checked)
            if away @ away <= MOVED**2 * len(theta) * noise:
                return memory
        found = corrected(
            fixed.kernel, sample, past, theta, _reach(fixed, memory), memory.mass, noise
        )
        memory = memory._replace(checked=theta)
        if found is None:
            return memory
        again = _walked(fixed, memory._replace(sample=found[0], past=found[1]), 0)
        if again is None:
            return memory
        memory = again
    return memory
