"""The symbolic gradient against differences of the loss and against torch's autograd."""

import importlib.util
from xml.etree import ElementTree

import numpy as np
import pytest

import formulas
from sgdfit.derivation.derivation import Derivation, derive
from sgdfit.derivation.gradient_check import check_gradient
from sgdfit.derivation.notation import columns as width_of
from sgdfit.errors import UsageError
from sgdfit.model.loss import LOSSES
from sgdfit.model.model import build

HAS_TORCH = importlib.util.find_spec("torch") is not None
NAMES = list(LOSSES)
# Every formula with a loss, every loss with many formulas.
PAIRS = [(case, NAMES[i % len(NAMES)]) for i, case in enumerate(formulas.FORMULAS)]
EVERY = pytest.mark.parametrize(
    ("case", "loss"), PAIRS, ids=[f"{case.name} {loss}" for case, loss in PAIRS]
)


def checked(case, loss, weights=None):
    model = formulas.model_of(case, loss)
    columns = dict(zip(model.columns, formulas.data(case, rows=60), strict=True))
    return check_gradient(model, columns, formulas.theta_of(case, model), weights)


def worst(check):
    return max(check.differences(check.central))


@EVERY
def test_the_gradient_agrees_with_central_differences(case, loss):
    check = checked(case, loss)
    assert check.trouble is None
    assert np.any(np.array(check.symbolic) != 0)
    assert worst(check) < 1e-6


# Torch has no such function, or no derivative of it.
UNKNOWN_TO_TORCH = {
    "gamma functions", "beta function", "Bessel", "Bessel of the second kind", "peaks",
}  # fmt: skip


@EVERY
def test_the_gradient_agrees_with_torch(torch, case, loss):
    check = checked(case, loss, weights=np.linspace(0.1, 2.0, 60))
    if case.name in UNKNOWN_TO_TORCH:
        assert check.torch is None
    else:
        assert max(check.differences(check.torch)) < 1e-12


@pytest.fixture(scope="module")
def tutorial():
    x = np.linspace(-2, 2, 20)
    drawn = np.random.RandomState(42).randint(0, 2**32, 20, dtype=np.uint32)
    u = ((drawn & 0xFFFFFF) / 2**24).astype(np.float32).astype(float)
    return {"x": x, "y": 2 * x**2 + 3 * x + 4 + (u * 10 - 5)}


QUADRATIC = build("y = a*x**2 + b*x + c", ["x", "y"], start="a=4, b=5, c=7")


def test_the_tutorials_numbers(tutorial):
    check = check_gradient(QUADRATIC, tutorial)
    # Measured with torch in float32, hence to seven figures.
    assert check.loss == pytest.approx(41.752251, rel=3e-7)
    assert check.symbolic == pytest.approx((20.1243, 6.9424, 9.1506), abs=6e-5)
    assert check.central == pytest.approx(check.symbolic, rel=1e-9)


def test_the_numbers_are_substituted(tutorial):
    lines = derive(QUADRATIC, tutorial).text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("(ŷᵢ − yᵢ)·xᵢ² = 20.1243"))
    assert [line.strip() for line in lines[at - 1 : at + 2]] == [
        "∂L   2   20",
        "── = ──  ∑  (ŷᵢ − yᵢ)·xᵢ² = 20.1243",
        "∂a   20 i=1",
    ]
    assert "    ŷᵢ = 4xᵢ² + 5xᵢ + 7" in lines


def test_at_another_place_and_with_weights(tutorial):
    weights = np.arange(20.0)
    check = check_gradient(QUADRATIC, tutorial, theta=[0.0, 0.0, 0.0], weights=weights)
    x, y = tutorial["x"], tutorial["y"]
    assert check.loss == pytest.approx(np.average(y**2, weights=weights), rel=1e-14)
    by_hand = [np.average(-2 * y * x**k, weights=weights) for k in (2, 1, 0)]
    assert check.symbolic == pytest.approx(by_hand, rel=1e-13)
    assert check.total_weight == 190


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_differences_find_their_step_at_every_scale(size):
    x = np.linspace(0.1, 1, 30) / size
    data = {"x": x, "y": np.exp(-2 * size * x)}
    model = build("y = a*exp(-k*x)", ["x", "y"], start={"a": 1.5, "k": 3 * size})
    assert worst(check_gradient(model, data)) < 1e-6


def test_differences_keep_inside_of_the_domain():
    data = {"x": np.array([1.0, 2.0, 3.0]), "y": np.ones(3)}
    model = build("y = a*sqrt(x - c)", ["x", "y"], start={"a": 1.0, "c": 0.999})
    assert worst(check_gradient(model, data)) < 1e-6


def test_what_leaves_the_domain_is_named():
    data = {"x": np.array([1.0, 2.0, -3.0]), "y": np.ones(3)}
    check = check_gradient(build("y = a*log(x)", ["x", "y"]), data)
    assert np.isnan(check.loss)
    assert check.trouble.row == 2
    (sentence,) = check.step.remark
    assert sentence == "Row 3 is outside of the domain: log(x) has no real value at x = -3."


def test_the_table_fits_and_is_drawn_in_every_way(tutorial):
    drawn = Derivation((check_gradient(QUADRATIC, tutorial).step,))
    text = drawn.text(80)
    assert max(map(width_of, text.splitlines())) <= 80
    assert "a  20.124279           20.124279" in text
    assert ("torch autograd" in text) == HAS_TORCH
    assert max(map(width_of, drawn.text(50).splitlines())) <= 50
    assert "20.124279" in drawn.text(50)
    assert drawn.latex().count("20.124279") == 2 + HAS_TORCH
    table = ElementTree.fromstring(drawn.html()).find(".//table")
    assert len(table.findall(".//tr")) == 4


def test_without_torch_the_table_has_no_such_column(tutorial, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check = check_gradient(QUADRATIC, tutorial)
    assert check.torch is None
    assert len(check.step.table[0]) == 4


def test_weights_that_sum_to_nothing_are_refused(tutorial):
    with pytest.raises(UsageError, match="the weights sum to 0"):
        check_gradient(QUADRATIC, tutorial, weights=np.zeros(20))
