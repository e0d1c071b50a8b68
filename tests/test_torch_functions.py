"""Models, losses and data of torch's: the tutorial's listing, and functions called with tensors."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from scipy import special
from scipy.optimize import curve_fit

import sgdfit
from sgdfit.errors import FormulaError, UsageError

X = np.linspace(0.0, 5.0, 15)
Y = 3 * np.log1p(np.exp(0.7 * X - 1)) + 0.05 * np.random.default_rng(0).standard_normal(15)
START = {"a": 1.0, "b": 1.0}


def quad(a, b, c, x):
    return a * x**2 + b * x + c


def mk_quad(a, b, c):
    return functools.partial(quad, a, b, c)


def mse(preds, acts):
    return ((preds - acts) ** 2).mean()


def tutorial(torch, dtype):
    """Return the listing's points, and the parameters and losses of its own loop."""
    f = mk_quad(2, 3, 4)
    x = torch.linspace(-2, 2, 20, dtype=dtype)[:, None]
    torch.manual_seed(42)
    y = f(x) + (torch.rand_like(f(x)) * 10 - 5)
    params, path, losses = torch.tensor([4, 5.0, 7.0], dtype=torch.float64), [], []
    params.requires_grad_()
    for _ in range(60):
        loss = mse(mk_quad(*params)(x.double()), y.double())
        loss.backward()
        path.append(params.detach().numpy().copy())
        losses.append(loss.item())
        params.data -= 0.1 * params.grad.data
        params.grad = None
    return x, y, np.array(path), np.array(losses)


LOSSES = [
    mse, lambda p, a: (p - a).square().mean(), "mse",
    lambda p, a: sys.modules["torch"].mean((p - a) ** 2),
    lambda p, a: sys.modules["torch"].nn.functional.mse_loss(p, a),
    lambda p, a: sys.modules["torch"].nn.MSELoss()(p, a),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("opaque", [False, True], ids=["traced", "called"])
def test_the_tutorials_run_is_that_of_its_loop(torch, loss, dtype, opaque):
    def called(a, b, c, x):
        return quad(a, b, c, torch.cumsum(torch.diag(x.flatten()), 0)[-1])

    x, y, path, losses = tutorial(torch, getattr(torch, dtype))
    start = dict(zip("abc", torch.tensor([4, 5.0, 7.0], requires_grad=True), strict=True))
    data = {"x": x.requires_grad_(), "y": y}
    how = {"loss": loss, "start": start, "optimizer": "sgd", "learning_rate": 0.1, "steps": 60}
    fit = sgdfit.fit(called if opaque else quad, data, response="y", **how)
    assert (fit.called is not None) == opaque
    np.testing.assert_allclose(fit.trace.parameters[:60], path, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.trace.loss[:60], losses, rtol=1e-12)


@pytest.mark.parametrize(("name", "option"), [("huber_loss", "delta"), ("smooth_l1_loss", "beta")])
def test_a_robust_loss_of_torch_is_taken_over(torch, name, option):
    def loss(prediction, target):
        return getattr(torch.nn.functional, name)(prediction, target, **{option: 0.7})

    x, y, *_ = tutorial(torch, torch.float64)
    fit = sgdfit.fit(quad, {"x": x, "y": y}, response="y", loss=loss)
    known = loss(quad(*map(fit.values.get, "abc"), x), y)
    assert fit.loss == pytest.approx(float(known), rel=1e-12)


def test_a_partial_fixes_what_it_binds(torch):
    x, y, *_ = tutorial(torch, torch.float64)
    fit = sgdfit.fit(functools.partial(quad, 2), {"x": x, "y": y}, response="y")
    known = np.polyfit(x.flatten(), (y - 2 * x**2).flatten(), 1)
    np.testing.assert_allclose([fit.values["b"], fit.values["c"]], known, rtol=1e-8)


@pytest.mark.parametrize("loss", [lambda p, a: ((p - a) ** 2).mean() ** 0.5, lambda p, a: p.sum()])
def test_no_other_loss_may_go_across_rows(loss):
    with pytest.raises(UsageError, match=r"mean works across rows|method '\.sum'"):
        sgdfit.fit("y = a*x", {"x": X, "y": Y}, loss=loss)


def softplus(a, b, x):
    return a * np.logaddexp(0, b * x)


def by_scipy(known, start):
    """Return what least squares gives of the function without torch, and its covariance."""
    how = {"p0": list(start.values()), "xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14}
    return curve_fit(lambda x, a, b: known(a, b, x), X, Y, **how)


def in_place(t, a, b, x):
    out = t.zeros(len(x))
    out[x > 2] = a * t.log(1 + t.exp(b * x[x > 2]))
    out[x <= 2] = a * t.nn.functional.softplus(b * x[x <= 2])
    return out


def looped(t, a, b, x):
    return a * sum(t.exp(-b * x[:, None]) ** k / k for k in range(1, 9))[:, 0]


CALLED = [
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x), softplus),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x)[:, None], softplus),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x).float(), softplus),
    (lambda t, a, b, x: a * t.special.log_ndtr(b * x) + 10 * t.where(x > 2, 1, b),
     lambda a, b, x: a * special.log_ndtr(b * x) + 10 * np.where(x > 2, 1, b)),
    (in_place, softplus),
    (looped, lambda a, b, x: a * sum(np.exp(-b * x) ** k / k for k in range(1, 9))),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x) if b > 0 else 0 * x, softplus),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x) if x >= 0 else a, softplus),
    (lambda t, a, b, x: t.stack([a * x, b + 0 * x]).logsumexp(0),
     lambda a, b, x: np.logaddexp(a * x, b)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "known"), CALLED)
def test_a_function_of_tensors_is_called_and_torch_finds_its_slopes(torch, function, known):
    def model(a, b, x):
        return function(torch, a, b, x)

    start = {"a": 0.6, "b": 0.4}
    how = {"response": "y", "start": start, "search": False}
    fit = sgdfit.fit(model, {"x": torch.tensor(X)[:, None], "y": Y}, **how)
    values, covariance = by_scipy(known, start)
    assert fit.status.ok
    assert "with tensors" in fit.called
    assert fit.called.endswith("slopes by torch.func")
    np.testing.assert_allclose([fit["a"].value, fit["b"].value], values, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-3)
    assert torch.get_default_dtype() == torch.float32


NO_SLOPES = [
    (lambda t, a, b, x: a * t.nn.functional.softplus(float(b) * x), "do not agree"),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b.detach() * x), "do not agree"),
    (lambda t, a, b, x: a * t.tensor(np.logaddexp(0, (b * x).numpy())), "torch.func raised"),
    (lambda t, a, b, x: a * t.nn.functional.softplus(b * x) + 0 * t.special.zeta(2 + b * b, 1 + x),
     "torch.func raised NotImplementedError"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "reason"), NO_SLOPES)
def test_where_torch_finds_no_slopes_differences_do_and_the_report_says_why(
    torch, function, reason
):
    fit = sgdfit.fit(
        lambda a, b, x: function(torch, a, b, x), {"x": X, "y": Y}, response="y", start=START
    )
    values, _ = by_scipy(softplus, START)
    assert f"of their size, since {'torch.func' if 'raised' in reason else 'those'}" in fit.called
    assert reason in fit.called
    np.testing.assert_allclose([fit["a"].value, fit["b"].value], values, rtol=1e-7)


def test_what_a_function_of_tensors_raises_is_told(torch):
    def failing(a, b, x):
        raise LookupError(f"no table {torch.nn.functional.softplus(a)}")

    with pytest.raises(FormulaError, match=r"LookupError: no table 1\.31.*\(at a = 1, b = 1\)"):
        sgdfit.fit(failing, {"x": X, "y": Y}, response="y", start=START)


def test_torch_is_not_imported_for_a_called_function(torch):
    code = (
        "import sys, sgdfit; sgdfit.fit(lambda x, a: [a*v for v in x],"
        " {'x': [1., 2.], 'y': [2., 4.]}, response='y'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
