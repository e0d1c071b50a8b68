"""Rows that are kept no more: folded into a quadratic, and a sample that tells if it holds."""

from __future__ import annotations

import numpy as np

from sgdfit.online.buffer import Buffer
from sgdfit.online.correction import Correction, corrected, in_errors
from sgdfit.online.expansion import folded
from sgdfit.online.local import both
from sgdfit.online.memory import Memory, Recursion, noise_of
from sgdfit.online.reservoir import sampled
from sgdfit.online.walk import walked

__all__ = ["MOVED", "checked", "in_doubt", "put_away"]

# Off by more than so many times the root of the mean square is seldom.
SELDOM = 2.0
# The sample is asked again once the estimates moved by more than so many standard errors.
MOVED = 0.2
RENEWALS = 5
# Hessians are differences over this share of a standard error, and at least of a parameter.
REACH, ROUNDING = 0.3, 1e-6


def put_away(fixed: Recursion, memory: Memory) -> Memory:
    """Fold the rows that are kept into the past."""
    assert memory.theta is not None  # set by the walk that led here
    assert memory.known is not None
    columns, weights = memory.kept.rows()
    decay, held = fixed.forgetting.weights(len(weights)), np.array(columns)
    new, rows = folded(
        fixed.kernel, memory.known, memory.theta, held, weights * decay, _reach(fixed, memory)
    )
    before = memory.tally.used - len(weights)
    totals = rows.totals(decay, weights)
    return memory._replace(
        past=new if memory.past is None else both(memory.past, new),
        kept=Buffer.empty(len(columns)),
        known=None,
        seen=0,
        anchor=None,
        sample=sampled(memory.sample, held, weights, rows, before, fixed.forgetting, fixed.seed),
        totals=totals if memory.totals is None else memory.totals.with_others(totals),
    )


def checked(fixed: Recursion, memory: Memory) -> Memory:
    """Ask the sample whether the past's quadratic holds where the estimates are; else renew it."""
    for _ in range(RENEWALS):
        if memory.past is None or not _has_moved(fixed, memory):
            return memory
        found = _asked(fixed, memory)
        memory = memory._replace(checked=memory.theta)
        if found is None:
            return memory
        memory = memory._replace(past=found.past, doubt=found.doubt)
        again = walked(fixed, memory, 0) if found.is_new else None
        if again is None:
            return memory
        memory = again
    return memory


def _has_moved(fixed: Recursion, memory: Memory) -> bool:
    """Whether the estimates are away from where the sample was last asked."""
    theta, whole = memory.theta, memory.whole
    if memory.checked is None or theta is None or whole is None:
        return True
    noise = noise_of(fixed, whole, memory.tally.mass)
    away = whole.quadratic.root @ (theta - memory.checked)
    return bool(away @ away > MOVED**2 * len(theta) * noise)


def _asked(fixed: Recursion, memory: Memory) -> Correction | None:
    """Return what the sample says."""
    theta, past, sample, totals = memory.theta, memory.past, memory.sample, memory.totals
    whole = memory.whole
    assert theta is not None  # known where there is a past
    assert past is not None
    assert sample is not None
    assert totals is not None
    assert whole is not None
    return corrected(
        fixed.kernel,
        sample,
        sample.stand(totals, fixed.forgetting, memory.tally.used),
        past,
        totals,
        theta,
        _reach(fixed, memory),
        whole.quadratic,
        noise_of(fixed, whole, memory.tally.mass),
    )


def in_doubt(fixed: Recursion, memory: Memory) -> float:
    """Return how far what the sample leaves open may take the estimates, in standard errors.

    That far, or less, in some nineteen cases of twenty.
    """
    if memory.doubt is None or memory.whole is None:
        return 0.0
    noise = noise_of(fixed, memory.whole, memory.tally.mass)
    return SELDOM * in_errors(memory.whole.quadratic, noise, memory.doubt)


def _reach(fixed: Recursion, memory: Memory) -> np.ndarray:
    """Return a part of the standard error that each parameter has while the others are held."""
    assert memory.theta is not None
    assert memory.whole is not None
    norms, size = memory.whole.quadratic.norms, np.abs(memory.theta)
    noise = noise_of(fixed, memory.whole, memory.tally.mass)
    errors = np.sqrt(noise) / np.where(norms > 0, norms, np.inf)
    # Differences over less than this are rounding.
    return np.asarray(np.maximum(REACH * errors, ROUNDING * np.where(size > 0, size, 1.0)))
