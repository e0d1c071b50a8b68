"""The walk to the minimum of what is known, looking anew at as many of the kept rows as need be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sgdfit.fitting.trust_region import Point, advance, begin
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.steps import step_within
from sgdfit.online.local import Local, both, looked_at
from sgdfit.online.memory import Memory, Recursion, noise_of

__all__ = ["distance", "minimum", "moved", "walked"]

# From the minimum, in standard errors.
NEAR = 1e-3
STEPS = 100
NOTHING = np.empty(0, dtype=np.intp)


def walked(fixed: Recursion, memory: Memory, first: int, near: float = NEAR) -> Memory | None:
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


def minimum(fixed: Recursion, theta: np.ndarray, quadratic: Quadratic) -> tuple[np.ndarray, int]:
    """Return where a quadratic is least within the bounds, and how many steps led there."""
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


def moved(fixed: Recursion, memory: Memory) -> float:
    """Return how far the estimates are from where the rows were looked at, in standard errors."""
    if memory.whole is None or memory.theta is None or memory.anchor is None:
        return np.inf
    noise = noise_of(fixed, memory.whole, memory.tally.mass)
    away = memory.whole.quadratic.root @ (memory.theta - memory.anchor)
    return float(np.sqrt(away @ away / len(away) / noise))
