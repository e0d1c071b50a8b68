"""Every NIST set with default settings: the certified answer from both starts and from none."""

import warnings
from functools import cache

import numpy as np
import pytest

import sgdfit
from nist_files import read_folder, shipped_folder
from nist_scores import FLOAT64_DIGITS, Score, equations, relabellings
from sgdfit.model.model import build
from sgdfit.model.symmetry import canonical

SETS = {standard.name: standard for standard in read_folder(shipped_folder())}
STARTS = ("start 1", "start 2", "no start")


@cache
def fitted(name, start):
    standard = SETS[name]
    given = {} if start == "no start" else {"start": standard.starts[STARTS.index(start)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sgdfit.fit(standard.formula, standard.data, **given)


@cache
def scored(name, start):
    standard, result = SETS[name], fitted(name, start)
    model = equations(standard)
    errors = {estimate.name: estimate.stderr for estimate in result.estimates.values()}
    return Score.of(standard, model, relabellings(standard, model), result.values, errors)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", SETS)
def test_every_parameter_has_six_certified_digits(name, start):
    assert scored(name, start).parameters >= 6.0


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", SETS)
def test_every_standard_error_has_four_certified_digits(name, start):
    errors = scored(name, start).errors
    assert errors is not None
    assert errors >= FLOAT64_DIGITS.get(name, 4.0)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", SETS)
def test_the_status_says_that_it_converged(name, start):
    result = fitted(name, start)
    assert result.status.name == "converged"
    assert result.distance is not None
    # Rounding of its fourteen digits leaves Lanczos1 a thousandth of its tiny standard errors.
    assert result.distance <= (1e-2 if name == "Lanczos1" else 1e-6)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", [name for name in SETS if name != "Lanczos1"])
def test_the_residual_sum_of_squares_is_the_certified_one(name, start):
    standard, result = SETS[name], fitted(name, start)
    assert result.residual_sum_of_squares == pytest.approx(
        standard.residual_sum_of_squares, rel=1e-8
    )
    assert result.degrees_of_freedom == standard.observations - len(standard.parameters)


@pytest.mark.parametrize("name", SETS)
def test_all_starts_lead_to_equivalent_minima_of_which_a_search_gives_the_canonical_one(name):
    *given, searched = (fitted(name, start) for start in STARTS)
    model = build(SETS[name].formula, [*SETS[name].data])
    theta = np.array([searched.values[n] for n in model.free])
    assert canonical(model, theta, model.free)[0] == pytest.approx(theta, rel=1e-12)
    for other in given:
        found = canonical(model, np.array([other.values[n] for n in model.free]), model.free)[0]
        assert found == pytest.approx(theta, rel=1e-6)
