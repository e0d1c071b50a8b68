"""Nominal 95% intervals and bands hold the truth about as often as they say, on simulated data."""

from functools import cache

import numpy as np
import pytest

from interval_coverage import CONFIDENCE, CURVED, DESIGNS, PREDICTION, simulate, summary

SETS = 150
# A proportion of 0.95 misses by more than so many of its standard errors once in 16,000 times.
LIMIT = 4.0
SEED = 20


@cache
def held(design):
    return simulate(DESIGNS[design], SEED, range(SETS))


@pytest.mark.parametrize("design", range(len(DESIGNS)), ids=[d.name for d in DESIGNS])
def test_intervals_and_bands_hold_the_truth_as_often_as_they_say(design):
    binomial = 100 * np.sqrt(0.95 * 0.05 / SETS)
    for count in summary(DESIGNS[design].name, held(design)):
        assert count.failed == 0
        # The points of a band are hits and misses of one curve: at worst all of them together.
        assert abs(count.coverage - 95) < LIMIT * binomial, count


@pytest.mark.parametrize("what", ["parameters", CONFIDENCE, PREDICTION])
def test_all_models_together_hold_the_truth_as_often_as_they_say(what):
    shares = []
    for k, design in enumerate(DESIGNS):
        named = design.truth if what == "parameters" else [what]
        shares.append(np.mean([held(k)[name] for name in named], axis=0))
    of_sets = np.concatenate(shares)
    error = of_sets.std() / np.sqrt(len(of_sets))
    assert error < 0.006
    assert abs(of_sets.mean() - 0.95) < LIMIT * error


def test_profiles_hold_the_truth_where_students_t_does_not():
    sets = 60
    wald, profile = (simulate(CURVED, SEED, range(sets), how) for how in ("wald", "profile"))
    for name in CURVED.truth:
        missed = np.nan_to_num(wald[name]) < np.nan_to_num(profile[name])
        regained = np.nan_to_num(wald[name]) > np.nan_to_num(profile[name])
        assert missed.sum() > regained.sum()
        coverage = np.nan_to_num(profile[name]).mean()
        assert abs(coverage - 0.95) < LIMIT * np.sqrt(0.95 * 0.05 / sets)
