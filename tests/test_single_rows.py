"""Steps by one row, in both forms."""

import numpy as np
import pytest

from sgdfit.kernel.kernel import Chunk, Segment, State, make
from sgdfit.kernel.order import in_order, shuffled
from sgdfit.model.model import build
from sgdfit.optimizers import adam, sgd

ROWS = 2500


def steps(form, formula, columns, kind, *, optimizer=None, weighted=False, loss="mse", rate=1e-3):
    """Take a step by each row, and return where that leads."""
    optimizer = sgd() if optimizer is None else optimizer
    model = build(formula, ["x", "y"], loss=loss)
    start, rows = np.linspace(0.5, 1.0, len(model.free)), len(columns[0])
    bound = np.full(len(start), np.inf)
    slots = np.stack(optimizer.init(start, optimizer.options))
    weights = np.linspace(0.5, 1.5, rows) if weighted else None
    order = in_order(rows) if kind == "in order" else shuffled(rows, 1, 0)
    part = Segment(order, 1, np.full(rows, rate), 1e300, 50, -bound, bound)
    state = State(start, slots, np.zeros(len(start)), 0, 0, 0)
    kernel = make(model, optimizer, form, weighted=weighted)
    return kernel.sweep(state, Chunk(columns, weights), part)


def rows_of(seed, bad=None):
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.1, 2.0, ROWS)
    y = 1.0 + x + draw.normal(0.0, 0.1, ROWS)
    if bad is not None:
        x[::50] = bad
    return x, y


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y = a*exp(-x) + b*log(x) + c*sin(3*x)", {}),
        ("y = a*exp(-x) + b*log(x) + c", {"optimizer": adam(), "weighted": True}),
        ("y = a*tanh(b*x) + c*sin(d*x) + cos(d*x)", {"weighted": True}),
        ("y = a*where(sin(x) > 0.5, x, log(x)) + b", {"loss": "huber"}),
        ("y = exp(a*log(x) + b)", {"loss": "poisson"}),
        ("log(y) = a*x**b + c*x**1.5", {"loss": "log_cosh"}),
    ],
)
@pytest.mark.parametrize("kind", ["in order", "shuffled"])
def test_both_forms_take_the_same_steps(formula, options, kind):
    one, two = (steps(f, formula, rows_of(2), kind, **options) for f in ("numpy", "compiled"))
    assert not one.halted
    np.testing.assert_allclose(two.state.theta, one.state.theta, rtol=1e-11)
    np.testing.assert_allclose(two.records, one.records, rtol=1e-9, atol=1e-11)
    assert two.state[4:] == one.state[4:] == (ROWS, ROWS)


@pytest.mark.parametrize(
    "formula", ["y = a*sin(x) + b", "y = a + b*cos(a*x)", "y = a*where(sin(x) > 0, 1, 2)"]
)
def test_huge_angles_are_left_to_the_library_of_c(formula):
    """At rate 0, since a step's rounding error would turn such an angle many times."""
    columns = rows_of(3, bad=10.0 ** np.linspace(11, 25, ROWS // 50))
    forms = ("numpy", "compiled")
    one, two = (steps(form, formula, columns, "in order", rate=0.0) for form in forms)
    assert not two.halted
    assert len(two.records) == ROWS // 50
    np.testing.assert_allclose(two.records, one.records, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["in order", "shuffled"])
def test_a_row_outside_of_the_domain_halts_at_its_step(kind):
    x, y = rows_of(4)
    order = in_order(ROWS) if kind == "in order" else shuffled(ROWS, 1, 0)
    x[order.indices()[1234]] = -1.0
    found = [steps(form, "y = a*log(x) + b", (x, y), kind) for form in ("numpy", "compiled")]
    for outcome in found:
        assert outcome.halted
        assert outcome.state.step == 1234
    np.testing.assert_allclose(found[1].state.theta, found[0].state.theta, rtol=1e-11)
