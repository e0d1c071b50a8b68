"""Losses against SciPy, torch and formulas by hand: values, expressions, derivatives."""

import functools

import numpy as np
import pytest
from scipy import special
from scipy.integrate import quad
from scipy.optimize import least_squares
from scipy.stats import norm

import sgdfit
from formulas import SCALE
from sgdfit.errors import SgdfitError
from sgdfit.formula.evaluation import evaluate
from sgdfit.model.loss import LOSSES, as_loss, huber, quantile
from sgdfit.model.model import build

TARGETS = np.array([-3.0, -0.4, 0.0, 0.3, 1.0, 2.5, 7.0])
RESIDUALS = np.array([-40.0, -2.5, -1.0, -0.3, 1e-4, 0.2, 1.7, 60.0])
Y, R = (part.ravel() for part in np.meshgrid(TARGETS, RESIDUALS))
P = Y + R


def scipy_rho(name, scale):
    """Take rho from the cost of SciPy's least_squares at each residual, a fit of nothing."""

    def rho(residual):
        fit = least_squares(
            lambda theta: residual + 0 * theta, [0.0], loss=name, f_scale=scale, max_nfev=1
        )
        return 2 * fit.cost

    return np.vectorize(rho)


def log_cosh_by_hand(r):
    return np.abs(r) + np.log1p(np.exp(-2 * np.abs(r))) - np.log(2)


ORACLES = {
    "mse": lambda p, y: (p - y) ** 2,
    "mae": lambda p, y: np.abs(p - y),
    "huber": lambda p, y: special.huber(1.345 * SCALE, p - y),
    "huber(delta=0.3)": lambda p, y: special.huber(0.3 * SCALE, p - y),
    "huber(delta=0.3, scale=absolute)": lambda p, y: special.huber(0.3, p - y),
    "soft_l1": lambda p, y: scipy_rho("soft_l1", 1.287 * SCALE)(p - y),
    "soft_l1(scale=2)": lambda p, y: scipy_rho("soft_l1", 2.0)(p - y),
    "cauchy": lambda p, y: scipy_rho("cauchy", 2.385 * SCALE)(p - y),
    "cauchy(scale=0.5)": lambda p, y: scipy_rho("cauchy", 0.5)(p - y),
    "log_cosh": lambda p, y: (1.205 * SCALE) ** 2 * log_cosh_by_hand((p - y) / (1.205 * SCALE)),
    "log_cosh(scale='absolute')": lambda p, y: log_cosh_by_hand(p - y),
    "quantile(q=0.9)": lambda p, y: np.where(y > p, 0.9 * (y - p), 0.1 * (p - y)),
    "poisson": lambda p, y: p - y * np.log(p),
}


def rows(name):
    """Return predictions and targets in the domain of the loss."""
    keep = (P > 0) & (Y >= 0) if name == "poisson" else np.full(P.shape, True)
    return P[keep], Y[keep]


def computed(expression, p, y):
    return np.broadcast_to(
        evaluate(expression, {"prediction": p, "target": y, "scale": SCALE}), p.shape
    )


@pytest.mark.parametrize("name", ORACLES)
def test_the_value(name):
    assert {name.partition("(")[0] for name in ORACLES} == set(LOSSES)
    p, y = rows(name)
    found = [computed(as_loss(name).expression, p, y)]
    more = {"scale": SCALE} if as_loss(name).is_relative else {}
    found += [LOSSES[name](p, y, **more)] if name in LOSSES else []
    for values in found:
        np.testing.assert_allclose(values, ORACLES[name](p, y), rtol=1e-12, atol=2e-15)


@pytest.mark.parametrize("name", ORACLES)
def test_first_and_second_derivative(name):
    p, y = rows(name)
    model = build("y = a*x", ["x", "y"], loss=name)
    h = 1e-6 * np.maximum(1.0, np.abs(p - y))
    # A kink within the step has no difference quotient to compare with.
    smooth = np.ones(p.shape, bool)
    for kink in (0.0, *np.outer([1, -1], [0.3, 1.0, 0.3 * SCALE, 1.345 * SCALE]).ravel()):
        smooth &= np.abs(p - y - kink) > 2 * h
    for function, slope in (
        (model.loss.expression, model.loss_grad),
        (model.loss_grad, model.loss_hess),
    ):
        up, down = computed(function, p + h, y), computed(function, p - h, y)
        difference = (up - down) / (2 * h)
        np.testing.assert_allclose(
            computed(slope, p, y)[smooth], difference[smooth], rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("name", ["huber", "soft_l1", "cauchy", "log_cosh"])
def test_the_default_is_95_percent_as_efficient_as_least_squares(name):
    """Where the noise is normal: (E ψ')² / E ψ²."""
    model = build("y = a*x", ["x", "y"], loss=as_loss(name).scaled(1.0))

    def mean(part, power):
        def density(z):
            return float(evaluate(part, model.loss.values(z, 0.0))) ** power * norm.pdf(z)

        return 2 * quad(density, 0, 10, points=[1.345], limit=200)[0]

    efficiency = mean(model.loss_hess, 1) ** 2 / mean(model.loss_grad, 2)
    assert efficiency == pytest.approx(0.95, abs=1e-4)


TORCH = {
    "mse": lambda F, p, y: F.mse_loss(p, y, reduction="none"),
    "mae": lambda F, p, y: F.l1_loss(p, y, reduction="none"),
    "huber(delta=0.3, scale=absolute)": lambda F, p, y: F.huber_loss(
        p, y, reduction="none", delta=0.3
    ),
    "huber(scale=absolute)": lambda F, p, y: F.smooth_l1_loss(p, y, reduction="none"),
    "poisson": lambda F, p, y: F.poisson_nll_loss(p, y, log_input=False, eps=0.0, reduction="none"),
}


@pytest.mark.parametrize("name", TORCH)
def test_value_and_slope_are_torch_s(torch, name):
    model = build("y = a*x", ["x", "y"], loss=name)
    p, y = rows(name)
    prediction = torch.tensor(p, requires_grad=True)
    loss = TORCH[name](torch.nn.functional, prediction, torch.tensor(y))
    loss.sum().backward()
    np.testing.assert_allclose(
        computed(model.loss.expression, p, y), loss.detach().numpy(), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(
        computed(model.loss_grad, p, y), prediction.grad.numpy(), rtol=1e-12, atol=1e-15
    )


def asymmetric(prediction, target, low=0.5, high=2.0):
    return np.where(prediction > target, high, low) * (prediction - target) ** 2


def swapped(target, prediction):
    return target * np.exp(-prediction)


class Callable:
    def __call__(self, prediction, target):
        return abs(prediction - target)


OWN = [
    (lambda p, t: np.abs(p - t) ** 1.5, lambda p, y: np.abs(p - y) ** 1.5,
     "abs(prediction - target)**1.5"),
    (functools.partial(asymmetric, high=3), lambda p, y: np.where(p > y, 3, 0.5) * (p - y) ** 2,
     "(prediction - target)**2*where(prediction > target, 3, 0.5)"),
    (functools.partial(huber, delta=2), lambda p, y: special.huber(2 * SCALE, p - y),
     "huber(delta=2.0)"),
    (functools.partial(huber, delta=2, scale=1), lambda p, y: special.huber(2.0, p - y),
     "huber(delta=2.0, scale=1.0)"),
    (functools.partial(quantile, q=0.5), lambda p, y: np.abs(p - y) / 2, "quantile(q=0.5)"),
    (huber, lambda p, y: special.huber(1.345 * SCALE, p - y), "huber"),
    ("scale*abs(prediction - target)", lambda p, y: SCALE * np.abs(p - y),
     "scale*abs(prediction - target)"),
    (Callable(), lambda p, y: np.abs(p - y), "abs(prediction - target)"),
    (swapped, lambda p, y: y * np.exp(-p), "target*exp(-prediction)"),
    ("log-cosh", ORACLES["log_cosh"], "log_cosh"),
    ("huber(2)", lambda p, y: special.huber(2.0 * SCALE, p - y), "huber(delta=2.0)"),
    (" huber( delta = 2 , scale = absolute) ", lambda p, y: special.huber(2.0, p - y),
     "huber(delta=2.0, scale='absolute')"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "oracle", "name"), OWN)
def test_a_loss_of_one_s_own(given, oracle, name):
    loss = as_loss(given)
    found = computed(loss.expression, P, Y)
    np.testing.assert_allclose(found, oracle(P, Y), rtol=1e-12, atol=1e-12)
    assert loss.name == name
    assert as_loss(loss) is loss
    assert as_loss(loss.name) == loss


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("hubre", "Did you mean 'huber'"),
        ("huber(dleta=1)", "Did you mean 'delta'"),
        ("huber(delta=-1)", "delta of the loss huber is -1; it must be above 0"),
        ("huber(delta=True)", "number"),
        ("soft_l1(scale=0)", "above 0"),
        ("cauchy(scale=absolut)", "scale of the loss cauchy is 'absolut'; leave it out"),
        ("quantile(q=1)", "between 0 and 1"),
        ("", "known are mse, mae, huber"),
        ("x**2", "Cannot read the loss"),
        ("(prediction - tagret)**2", "uses 'tagret'.*Did you mean 'target'"),
        ("prediction**2", "does not depend on the target"),
        ("y = prediction - target", "a comparison is written =="),
        (functools.partial(huber, 3.0), "bind the options of the loss huber by name"),
        (lambda p: p, "cannot be called with a prediction and a target"),
        (lambda p, t: None, "returned NoneType"),
        (lambda p, t: np.sum((p - t) ** 2), "averages the rows itself"),
        (lambda p, t: p - t if p > t else t - p, "np.where"),
        (5, "not 'int'"),
    ],
)
def test_a_bad_loss_is_refused(given, sentence):
    with pytest.raises(SgdfitError, match=sentence):
        as_loss(given)


def test_a_loss_may_return_its_mean_over_the_rows():
    data = {"x": np.arange(5.0), "y": np.array([1.0, 2.5, 2.0, 4.0, 7.0])}
    mean = sgdfit.fit("y = a*x + b", data, loss=lambda p, t: np.mean((p - t) ** 2))
    assert mean.values == sgdfit.fit("y = a*x + b", data, loss="(prediction - target)**2").values
