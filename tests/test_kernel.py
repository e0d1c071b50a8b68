"""The operations of a kernel in both forms: sums against central differences, sweeps by steps."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from formulas import FORMULAS, data, model_of, theta_of
from sgdfit.errors import UsageError
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.forms import choose_form, make
from sgdfit.kernel.kernel import Chunk, Segment, State
from sgdfit.kernel.shuffle import sequential, shuffled
from sgdfit.kernel.summation import Sums, sum_panels
from sgdfit.model.loss import as_loss
from sgdfit.model.model import build
from sgdfit.optimizers import adagrad, adam, adamw, averaged, rmsprop, sgd

AGREEMENT = 1e-12
FORMS = ("numpy", "compiled")
in_both_forms = pytest.mark.parametrize("form", FORMS)


def weights_of(rows):
    weights = np.random.default_rng(5).uniform(0.1, 3.0, rows)
    return weights / weights.mean()


def absolute_sums(model, theta, chunk):
    """Return the sums of the absolute values of what `Sums` adds up, by a walk over the tree."""
    at = dict(zip(model.columns, chunk.columns, strict=True))
    at |= dict(zip(model.free, theta, strict=True))
    rows = np.zeros(chunk.rows)
    jacobian = np.array([evaluate(e, at) + rows for e in model.gradient])
    prediction, target = (evaluate(e, at) for e in (model.prediction, model.formula.response))
    values = model.loss.values(prediction + rows, target, chunk.weights)
    parts = (model.loss.expression, model.loss_grad, model.loss_hess)
    loss, grad, hess = (evaluate(e, values) + rows for e in parts)
    w = np.ones(chunk.rows) if chunk.weights is None else chunk.weights
    gradient = np.abs(w * grad * jacobian).sum(axis=1)
    curvature = np.abs(jacobian * (w * hess)) @ np.abs(jacobian.T)
    return Sums(chunk.rows, w.sum(), np.abs(w * loss).sum(), gradient, curvature)


# tests/test_emission.py compares every formula and every loss row by row.
@pytest.mark.parametrize(
    ("loss", "dtype", "weighted"),
    [("mse", "float64", False), ("huber", "float32", True)],
)
def test_sums_and_scores_agree(loss, dtype, weighted):
    case = next(case for case in FORMULAS if case.name == "decay")
    model, columns = model_of(case, loss), data(case, rows=20_000, dtype=dtype)
    theta = theta_of(case, model)
    chunk = Chunk(tuple(columns), weights_of(20_000) if weighted else None)
    kernels = [make(model, None, form, weighted=weighted) for form in FORMS]
    sums = [kernel.sums(theta, chunk) for kernel in kernels]
    for one, other, scale in zip(*sums, absolute_sums(model, theta, chunk), strict=True):
        assert (np.abs(one - other) <= AGREEMENT * np.abs(scale)).all()
    parts = ([kernel.panel_sums(theta, chunk, scores=True)] for kernel in kernels)
    one, other = (sum_panels(part, chunk.rows, len(theta)).curvature for part in parts)
    scale = np.sqrt(np.outer(np.diag(one), np.diag(one)))
    assert (np.abs(one - other) <= AGREEMENT * scale).all()


OPTIMIZERS = {
    "sgd": sgd(),
    "momentum": sgd(momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": sgd(momentum=0.9, nesterov=True),
    "adagrad": adagrad(lr_decay=0.001),
    "rmsprop": rmsprop(momentum=0.5, centered=True),
    "adam": adam(amsgrad=True),
    "adamw": adamw(),
    "averaged adam": averaged(adam(), start=5),
}
ROWS = 1500
STEPS = 130


@cache
def problem(rows=ROWS, bounded=False):
    random = np.random.default_rng(1)
    x = random.uniform(-2.0, 2.0, rows)
    y = 2.0 * np.exp(-0.5 * x) + 1.0 + random.normal(0.0, 0.1, rows)
    bounds = {"b": (0.45, 0.55), "c": (None, 0.9)} if bounded else None
    model = build("y = a*exp(-b*x) + c", ["x", "y"], bounds=bounds)
    return model, (x, y)


@cache
def kernel(form, name, weighted=False, bounded=False):
    return make(problem(bounded=bounded)[0], OPTIMIZERS[name], form, weighted=weighted)


def begin(optimizer, theta=(1.5, 0.5, 0.5)):
    theta = np.array(theta)
    slots = np.stack(optimizer.init(theta, optimizer.options))
    return State(theta, slots, np.zeros(len(theta)), 0, 0, 0)


def segment(order, size, rates, *, every=0, ceiling=1e300, bounded=False, count=3):
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    if bounded:
        low[1], high[1:] = 0.45, (0.55, 0.9)
    return Segment(order, size, np.asarray(rates), ceiling, every, low, high)


def swept(form, name, part, columns=None, *, weights=None, state=None, bounded=False):
    chunk = Chunk(problem()[1] if columns is None else columns, weights)
    made = kernel(form, name, weights is not None, bounded)
    return made.sweep(begin(OPTIMIZERS[name]) if state is None else state, chunk, part)


def orders(kind, rows, epoch):
    return sequential(rows) if kind == "in order" else shuffled(rows, 3, epoch)


def run(form, name, size, kind, *, every=0, weighted=False, bounded=False, cuts=()):
    """Take steps over as many epochs as they need; ``cuts`` says where calls end besides."""
    weights = weights_of(ROWS) if weighted else None
    rates = 0.003 / (1.0 + 0.01 * np.arange(STEPS))
    state, records, ends = begin(OPTIMIZERS[name]), [], [*sorted(cuts), STEPS]
    while state.step < STEPS:
        state = state._replace(position=0 if state.position >= ROWS else state.position)
        # A full batch runs on from epoch to epoch in one order.
        order = orders(kind, ROWS, 0 if size >= ROWS else state.step // -(-ROWS // size))
        stop = next(end for end in ends if end > state.step)
        part = segment(order, size, rates[state.step : stop], every=every, bounded=bounded)
        outcome = swept(form, name, part, weights=weights, state=state, bounded=bounded)
        assert not outcome.halted
        assert outcome.state.step > state.step
        state = outcome.state
        records.append(outcome.records)
    return state, np.concatenate(records)


def assert_same_course(one, two):
    (state, records), (other, others) = one, two
    for found, expected in ((state.theta, other.theta), (state.average, other.average)):
        np.testing.assert_allclose(found, expected, rtol=AGREEMENT, atol=AGREEMENT)
    np.testing.assert_allclose(state.slots, other.slots, rtol=1e-11, atol=1e-11)
    assert state[3:] == other[3:]
    np.testing.assert_allclose(records, others, rtol=1e-11, atol=AGREEMENT)


def assert_same_bits(one, two):
    for found, expected in zip((*one[0], one[1]), (*two[0], two[1]), strict=True):
        assert np.array_equal(found, expected)


# Single rows have a loop of their own, in which an optimizer's step is the same text.
@pytest.mark.parametrize(
    ("name", "size", "kind", "every"),
    [
        *((name, 1, "shuffled", 3) for name in ("sgd", "averaged adam")),
        *((name, 7, "in order", 1) for name in OPTIMIZERS),
        *((name, 64, "shuffled", 0) for name in OPTIMIZERS),
        *((name, ROWS, "in order", 3) for name in OPTIMIZERS),
    ],
)
def test_the_forms_take_the_same_steps(name, size, kind, every):
    courses = [run(form, name, size, kind, every=every) for form in FORMS]
    assert_same_course(*courses)
    expected = [] if every == 0 else range(0, STEPS, every)
    assert courses[0][1][:, 0].tolist() == list(expected)
    assert np.abs(courses[0][0].theta - begin(OPTIMIZERS[name]).theta).min() > 1e-4


@pytest.mark.parametrize("size", [1, 7])
def test_the_forms_take_the_same_steps_weighted_and_bounded(size):
    options = {"weighted": True, "bounded": True, "every": 1}
    courses = [run(form, "averaged adam", size, "shuffled", **options) for form in FORMS]
    assert_same_course(*courses)
    plain = run("numpy", "averaged adam", size, "shuffled", every=1)
    assert np.abs(courses[0][0].theta - plain[0].theta).max() > 1e-4
    theta = courses[0][1][1:, 3:6]
    assert (theta[:, 1] >= 0.45).all()
    assert (theta[:, 1] <= 0.55).all()
    assert theta[:, 2].max() <= 0.9


@in_both_forms
@pytest.mark.parametrize("size", [1, 7, 1100, ROWS])
@pytest.mark.parametrize("kind", ["in order", "shuffled"])
def test_calls_may_end_anywhere(form, size, kind):
    cuts = set(np.random.default_rng(2).integers(1, STEPS, 25).tolist())
    whole = run(form, "averaged adam", size, kind, every=3)
    assert_same_bits(run(form, "averaged adam", size, kind, every=3, cuts=cuts), whole)


@pytest.mark.parametrize("rows", [1, 20, 16_384, 20_000])
@pytest.mark.parametrize("size", [1, 64, 700, 5000, 20_000])
def test_the_compiled_gather_visits_what_the_order_says(rows, size):
    """Orders of whole buffers and a tail, cut anywhere: both forms see the same batches."""
    order, steps, courses = shuffled(rows, 7, 0), min(-(-rows // size), 1200), []
    columns = tuple(np.sort(column) for column in problem(rows)[1])
    # From the middle of the buffers on where there is no time for all single rows.
    start = begin(sgd())._replace(position=min(rows - 1, 16_000) // size * size)
    for form in FORMS:
        part = segment(order, size, np.full(steps, 1e-3), every=1)
        outcome = swept(form, "sgd", part, columns, state=start)
        courses.append((outcome.state, outcome.records))
        assert not outcome.halted
    assert_same_course(*courses)


@in_both_forms
@pytest.mark.parametrize("size", [1, 400, ROWS])
def test_an_epoch_ends_with_a_smaller_batch(form, size):
    """As torch's DataLoader with drop_last=False; full batches run on from epoch to epoch."""
    steps = 9 if size == ROWS else -(-ROWS // size)
    rates = np.full(steps if size == ROWS else 2 * ROWS, 1e-3)
    part = segment(shuffled(ROWS, 0, 0), size, rates, every=1)
    outcome = swept(form, "sgd", part)
    assert outcome.state[4:] == (steps, 0 if size == ROWS else ROWS)
    last = outcome.records[-1]
    taken = part.order.indices()[(steps - 1) * size if size < ROWS else 0 :]
    chunk = Chunk(tuple(column[taken] for column in problem()[1]), None)
    sums = kernel("numpy", "sgd").sums(last[3:6], chunk)
    assert last[2] == pytest.approx(sums.loss / len(taken), rel=1e-12)
    np.testing.assert_allclose(last[6:], sums.gradient / len(taken), rtol=1e-9)


@in_both_forms
@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e150])
@pytest.mark.parametrize("kind", ["in order", "shuffled"])
def test_a_bad_row_halts_before_its_batch(form, size, bad, kind):
    x, y = problem()[1]
    order, y = orders(kind, ROWS, 0), y.copy()
    y[order.indices()[777]] = bad
    part = segment(order, size, np.full(ROWS, 1e-3), every=1, ceiling=1e200)
    outcome = swept(form, "sgd", part, (x, y))
    assert outcome.halted
    assert outcome.state[4:] == (777 // size, 777 // size * size)
    before = swept(form, "sgd", segment(order, size, np.full(777 // size, 1e-3), every=1))
    assert_same_bits((outcome.state, outcome.records), (before.state, before.records))


@pytest.mark.parametrize("size", [1, 64])
def test_steps_through_huge_angles_are_the_same(size):
    """Rows that vector registers leave to the library of C, among others that they do not."""
    x = np.random.default_rng(11).uniform(0.0, 6.0, ROWS)
    x[::200] = 10.0 ** np.linspace(12, 25, len(x[::200]))
    model, columns = build("y = a*sin(x) + b*cos(x)", ["x", "y"]), (x, 2.0 * np.sin(x))
    part = segment(shuffled(ROWS, 3, 0), size, np.full(20, 0.01), ceiling=1e9, count=2)
    outcomes = [
        make(model, sgd(), form).sweep(begin(sgd(), (1.0, 1.0)), Chunk(columns, None), part)
        for form in FORMS
    ]
    assert not any(outcome.halted for outcome in outcomes)
    np.testing.assert_allclose(*(o.state.theta for o in outcomes), rtol=AGREEMENT)
    assert outcomes[0].state.theta[0] > 1.01


@pytest.mark.parametrize(
    ("formula", "loss", "optimizer"),
    [
        ("y = a*tanh(b*x) + c*sin(d*x) + cos(d*x)", "mse", adam()),
        ("y = a*where(sin(x) > 0.5, x, log(x)) + b", "huber", sgd()),
        ("log(y) = a*x**b + c*x**1.5", "log_cosh", sgd()),
    ],
)
def test_batches_of_one_weighted_row_are_the_same(formula, loss, optimizer):
    """The compiled form has a loop of its own for them."""
    model = build(formula, ["x", "y"], loss=as_loss(loss).scaled(0.3))
    x = np.random.default_rng(2).uniform(0.1, 2.0, ROWS)
    chunk = Chunk((x, 1.0 + x + 0.1 * np.cos(99.0 * x)), weights_of(ROWS))
    count = len(model.free)
    part = segment(shuffled(ROWS, 3, 0), 1, np.full(ROWS, 1e-3), every=50, count=count)
    start = begin(optimizer, np.linspace(0.5, 1.0, count))
    found = [make(model, optimizer, f, weighted=True).sweep(start, chunk, part) for f in FORMS]
    np.testing.assert_allclose(found[1].state.theta, found[0].state.theta, rtol=1e-11)
    np.testing.assert_allclose(found[1].records, found[0].records, rtol=1e-9, atol=1e-11)
    assert found[1].state[4:] == found[0].state[4:] == (ROWS, ROWS)


@in_both_forms
def test_a_loss_above_the_ceiling_halts(form):
    part = segment(sequential(ROWS), ROWS, np.full(500, 2.0), every=1, ceiling=1e4)
    outcome = swept(form, "sgd", part)
    assert outcome.halted
    assert np.isfinite(outcome.state.theta).all()
    assert (outcome.records[:, 2] <= 1e4).all()
    assert len(outcome.records) == outcome.state.step < 500
    again = part._replace(rates=part.rates[:1])
    assert swept(form, "sgd", again, state=outcome.state).halted


@in_both_forms
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rate", [np.inf, np.nan])
def test_parameters_never_cease_to_be_finite(form, name, rate):
    outcome = swept(form, name, segment(sequential(ROWS), 64, [1e-3, rate, 1e-3]))
    assert outcome.halted
    assert outcome.state[4:] == (1, 64)
    assert np.isfinite(outcome.state.theta).all()
    assert np.isfinite(outcome.state.slots).all()


OUTSIDE = [
    *("y = log(a*x)", "y = sqrt(a*x)", "y = x**a", "y = asin(a + x)", "y = a/(x - 4)"),
    *("y = atanh(a + x)", "y = log1p(a*x - 3)", "y = acosh(a*x)", "y = exp(a + 800*(x - 0.5))"),
    *("y = maximum(log(a*x), 0)", "y = minimum(log(a*x), 0)", "y = abs(log(a*x))"),
    *("y = a*sign(log(x))", "y = where(log(x) > a, 1, 2) + log(a*x)", "y = a*floor(sqrt(x))"),
]
SMOOTH_OR_NOT = ("mse", "huber", "mae")


@pytest.mark.parametrize(
    ("form", "formula", "loss"),
    [
        *(("numpy", formula, loss) for formula in OUTSIDE for loss in SMOOTH_OR_NOT),
        # one of each kind: the functions themselves stand in tests/test_elementary.py
        *(("compiled", formula, SMOOTH_OR_NOT[i % 3]) for i, formula in enumerate(OUTSIDE[2::3])),
    ],
)
def test_leaving_the_domain_is_never_silent(form, formula, loss):
    """The last row is outside: the loss is not finite, and a sweep, in turn, halts there."""
    model = build(formula, ["x", "y"], loss=loss)
    x = np.append(np.full(8, 0.5), 2.0 if "exp" in formula else -1.5)
    x[-1] = 4.0 if "x - 4" in formula else x[-1]
    made, chunk, theta = make(model, sgd(), form), Chunk((x, np.ones(9)), None), np.array([0.3])
    assert not np.isfinite(made.sums(theta, chunk).loss)
    # Compiling takes seconds, and sweeps evaluate rows as sums do.
    if form == "numpy" or loss == "mae":
        part = segment(sequential(9), 1, np.full(9, 1e-9), count=1)
        assert made.sweep(begin(sgd(), theta), chunk, part).halted


def test_threads_do_not_change_a_bit():
    def task(seed):
        part = segment(shuffled(ROWS, seed, 0), 7, np.full(STEPS, 1e-2), every=1)
        outcome = swept("compiled", "momentum", part)
        return outcome.state, outcome.records

    alone = [task(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(task, [*range(8)] * 5))
    for k, course in enumerate(together):
        assert_same_bits(course, alone[k % 8])
    assert not np.array_equal(alone[0][0].theta, alone[1][0].theta)


@in_both_forms
def test_the_state_that_goes_in_is_left_alone(form):
    state, fresh = (begin(OPTIMIZERS["averaged adam"]) for _ in range(2))
    swept(form, "averaged adam", segment(sequential(ROWS), 7, np.full(9, 1e-2)), state=state)
    assert_same_bits((state, np.empty(0)), (fresh, np.empty(0)))


def test_float32_steps_stay_float32():
    wide = begin(sgd())
    narrow = wide._replace(theta=wide.theta.astype("float32"), slots=wide.slots.astype("float32"))
    part = segment(sequential(ROWS), 7, np.full(50, 1e-2))
    after, exact = (swept("numpy", "sgd", part, state=state).state for state in (narrow, wide))
    assert after.theta.dtype == after.slots.dtype == np.float32
    np.testing.assert_allclose(after.theta, exact.theta, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "steps", "batch_size", "dtype", "expected"),
    [
        ("auto", 200, 20, "float64", "numpy"),
        ("auto", 10**6, 1, "float64", "compiled"),
        ("auto", 200, 10**7, "float64", "compiled"),
        ("auto", 10**9, 1, "float32", "numpy"),
        ("numpy", 10**9, 1, "float64", "numpy"),
        ("compiled", 1, 1, "float64", "compiled"),
        ("numba", 1, 1, "float64", "kernel='numba' is not one of 'auto', 'numpy', 'compiled'"),
        ("compiled", 1, 1, "float32", "steps in float64; use kernel='numpy' for float32"),
    ],
)
def test_the_form_that_is_chosen(kernel, steps, batch_size, dtype, expected):
    if expected in FORMS:
        assert choose_form(kernel, steps, batch_size, dtype) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            choose_form(kernel, steps, batch_size, dtype)
