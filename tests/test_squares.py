"""The sum of squared residuals of a fit by another loss, however it is added up."""

import numpy as np
import pytest

import sgdfit
from sgdfit.fitting import uncertainty

ROWS = 9_000


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(3)
    x = random.uniform(0, 3, ROWS)
    y = 3 * np.exp(-x) + 1 + random.standard_t(3, ROWS) / 10
    return {"x": x, "y": y, "w": random.uniform(0.5, 2, ROWS), "k": random.poisson(2 * np.exp(-x))}


CASES = [
    ("y = a*exp(-b*x) + c", {"loss": "huber"}),
    ("y = a*exp(-b*x) + c", {"loss": "soft_l1", "weights": "w"}),
    ("k = exp(a - b*x)", {"loss": "poisson"}),
]


@pytest.mark.parametrize("form", ["numpy", "compiled"])
@pytest.mark.parametrize(("formula", "options"), CASES)
def test_squares_are_those_of_the_predictions(formula, options, form, data, monkeypatch):
    monkeypatch.setattr(uncertainty, "choose_form", lambda *_: form)
    fit = sgdfit.fit(formula, data, **options)
    target = data["k"] if formula.startswith("k") else data["y"]
    weights = data[options["weights"]] if "weights" in options else np.ones(ROWS)
    expected = np.sum(weights * (target - fit.predict({"x": data["x"]})) ** 2)
    assert fit.residual_sum_of_squares == pytest.approx(expected, rel=1e-10)
