"""Optimizers and schedules against torch.optim, step by step; how both are given as text."""

import functools
import pickle
from fractions import Fraction

import numpy as np
import pytest

from sgdfit.choice import choose
from sgdfit.errors import UsageError
from sgdfit.optimizers import (
    DEFAULT_RATES,
    OPTIMIZERS,
    Optimizer,
    adagrad,
    adam,
    adamw,
    averaged,
    describe,
    rmsprop,
    sgd,
)
from sgdfit.optimizers.schedule import (
    SCHEDULES,
    constant,
    cosine,
    exponential,
    inverse_time,
    step_decay,
    tabulate,
    warm_up,
)
from sgdfit.optimizers.schedule import describe as written

STEPS = 1000
TOLERANCE = 1e-10


def rosenbrock(theta, step):
    a, b = theta
    return np.array([-2.0 * (1.0 - a) - 400.0 * a * (b - a * a), 200.0 * (b - a * a)])


X = np.linspace(0.0, 4.0, 25)
Y = 3.0 * np.exp(-0.8 * X) + 0.5 + 0.05 * np.sin(37.0 * X)


def decay_curve(theta, step):
    """Mean squared error of a*exp(-b*x) + c over all rows."""
    a, b, c = theta
    shape = np.exp(-b * X)
    residual = a * shape + c - Y
    return 2.0 * np.array(
        [np.mean(residual * shape), np.mean(-residual * a * X * shape), np.mean(residual)]
    )


ROWS = np.random.default_rng(7).normal(size=(96, 3))
TARGETS = ROWS @ np.array([1.5, -2.0, 0.5]) + np.random.default_rng(8).normal(size=96)


def batches(theta, step):
    """Mean squared error of a linear model over batch after batch of 8 rows."""
    first = 8 * ((step - 1) % 12)
    rows, targets = ROWS[first : first + 8], TARGETS[first : first + 8]
    return 2.0 * rows.T @ (rows @ theta - targets) / 8.0


# gradient, start, rate of sgd, rate of the others
PROBLEMS = {
    "rosenbrock": (rosenbrock, (-1.0, 1.5), 2e-4, 0.01),
    "decay curve": (decay_curve, (1.0, 0.3, 0.0), 0.05, 0.005),
    "batches": (batches, (0.0, 0.0, 0.0), 0.02, 0.02),
}
CASES = [
    sgd(),
    sgd(momentum=0.8),
    sgd(momentum=0.8, dampening=0.3),
    sgd(momentum=0.7, nesterov=True),
    sgd(weight_decay=0.1),
    sgd(momentum=0.6, nesterov=True, weight_decay=0.02),
    adagrad(),
    adagrad(lr_decay=0.01),
    adagrad(weight_decay=0.1),
    adagrad(initial_accumulator=0.5),
    adagrad(epsilon=0.1),
    rmsprop(),
    rmsprop(alpha=0.9),
    rmsprop(epsilon=1e-2),
    rmsprop(weight_decay=0.1),
    rmsprop(momentum=0.5),
    rmsprop(centered=True),
    rmsprop(momentum=0.3, centered=True, weight_decay=0.01),
    adam(),
    adam(beta1=0.3),
    adam(beta2=0.95),
    adam(epsilon=1e-2),
    adam(weight_decay=0.1),
    adam(beta2=0.9, amsgrad=True),
    adamw(),
    adamw(weight_decay=0.1),
    adamw(beta1=0.8, beta2=0.9, epsilon=1e-6, weight_decay=0.05, amsgrad=True),
]
TORCH = {"sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
TORCH_NAMES = {"epsilon": "eps", "initial_accumulator": "initial_accumulator_value"}


def torch_options(options):
    """Return our options by torch's names; ours alone is which of Adam and AdamW it is."""
    betas = {"beta1", "beta2"} & set(options)
    found = {TORCH_NAMES.get(k, k): v for k, v in options.items() if k not in betas | {"decoupled"}}
    return found | ({"betas": (options["beta1"], options["beta2"])} if betas else {})


def as_torch(optimizer):
    """Return the name of the class in torch.optim, and its options."""
    given = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    switches = {k: bool(given[k]) for k in ("nesterov", "centered", "amsgrad") if k in given}
    return TORCH[optimizer.name], torch_options(given | switches)


def with_torch(torch, optimizer, gradient, start, rates):
    """Return torch's trajectory of shape (steps, p), from the same gradients."""
    theta = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    kind, options = as_torch(optimizer)
    oracle = getattr(torch.optim, kind)([theta], lr=rates[0], foreach=False, **options)
    path = []
    for step, rate in enumerate(rates, start=1):
        oracle.param_groups[0]["lr"] = rate
        theta.grad = torch.from_numpy(gradient(theta.detach().numpy(), step))
        oracle.step()
        path.append(theta.detach().numpy().copy())
    return np.array(path)


# Each step is compared from torch's parameters, with our own state: around a minimum adaptive
# steps overshoot to and fro and double a rounding error every few steps, in torch as here.
@pytest.mark.parametrize(("gradient", "start", "slow", "fast"), PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("optimizer", CASES, ids=describe)
@pytest.mark.parametrize("scheduled", [False, True])
def test_each_step_is_that_of_torch(torch, optimizer, gradient, start, slow, fast, scheduled):
    rate = slow if optimizer.name == "sgd" else fast
    rates = tabulate(cosine(rate, 400), 0, STEPS).tolist() if scheduled else [rate] * STEPS
    theirs = with_torch(torch, optimizer, gradient, start, rates)
    assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3, "the path must go somewhere"
    before = np.vstack([start, theirs[:-1]])
    state = optimizer.init(before[0], optimizer.options)
    for step, (theta, rate, wanted) in enumerate(zip(before, rates, theirs, strict=True), start=1):
        found, state = optimizer.update(
            theta, gradient(theta, step), state, rate, step, optimizer.options
        )
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("value", [-1.0, -1e-9, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("name", TORCH)
def test_options_are_refused_where_torch_refuses_them(torch, name, value):
    usual = OPTIMIZERS[name]()
    switches = {"nesterov", "centered", "amsgrad", "decoupled"}
    for option in set(usual.option_names) - switches:
        betas = {"beta1": 0.9, "beta2": 0.9} if option.startswith("beta") else {}
        arguments = torch_options({**betas, option: value})
        try:
            getattr(torch.optim, TORCH[name])([torch.zeros(1)], lr=0.1, **arguments)
        except ValueError:
            with pytest.raises(UsageError, match=f"{option} of {name} must be .* not {value!r}"):
                OPTIMIZERS[name](**{option: value})
        else:
            found = OPTIMIZERS[name](**{option: value})
            assert found.options[found.option_names.index(option)] == value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sgd(nesterov=True), "needs momentum above 0 and dampening 0"),
        (lambda: sgd(momentum=0.9, dampening=0.1, nesterov=True), "and dampening=0.1"),
        (lambda: sgd(momentum="0.9"), "momentum of sgd must be a finite number, not '0.9'"),
        (lambda: adam(beta1=1.0), "beta1 of adam must be at least 0 and below 1, not 1.0"),
        (lambda: adam(epsilon=float("inf")), "epsilon of adam must be a finite number, not inf"),
        (lambda: adam(amsgrad=0.5), "amsgrad of adam must be True or False, not 0.5"),
        (lambda: averaged(adam), "averaged needs an optimizer such as"),
        (lambda: averaged(averaged()), r"averaged\(sgd\) is averaged already"),
        (lambda: averaged(start=-1), "start of averaged must be a whole number, 0 or more"),
        (lambda: constant("fast"), "rate of constant must be a finite number, not 'fast'"),
        (lambda: inverse_time(0.1, -1), "decay of inverse_time must be 0 or more, not -1"),
        (lambda: step_decay(0.1, 2.5), "size of step_decay must be a whole number, 1 or more"),
        (lambda: cosine(0.1, -3), "steps of cosine must be a whole number, 1 or more, not -3"),
        (lambda: warm_up(0.1, 3, start=0.0), "start of warm_up must be above 0 and at most 1"),
        (lambda: warm_up(0.1, 3, then=0.1), "then of warm_up must be a schedule such as"),
    ],
)
def test_misuse_is_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    "optimizer", [*CASES, averaged(), averaged(adam(beta1=0.8), start=100)], ids=describe
)
def test_description_is_read_back(optimizer):
    assert choose(describe(optimizer), OPTIMIZERS, "optimizer") == optimizer


def test_description_leaves_out_defaults():
    assert describe(sgd(momentum=0.9, nesterov=True)) == "sgd(momentum=0.9, nesterov=True)"
    assert describe(adamw(weight_decay=1e-2)) == "adamw"
    assert describe(averaged(rmsprop(alpha=0.9), 5)) == "averaged(rmsprop(alpha=0.9), start=5)"
    assert describe(Optimizer("mine", *sgd()[1:3], (0.5,), ("k",))) == "mine(k=0.5)"


@pytest.mark.parametrize("optimizer", CASES, ids=describe)
def test_float32_stays_float32_and_arguments_stay_as_they_are(optimizer):
    theta = np.array([1.0, -2.0, 0.5], dtype=np.float32)
    gradient = np.array([0.3, -0.1, 2.0], dtype=np.float32)
    state = optimizer.init(theta, optimizer.options)
    for step in (1, 2, 3):
        before = [array.copy() for array in (theta, gradient, *state)]
        found, after = optimizer.update(theta, gradient, state, 0.01, step, optimizer.options)
        for array, kept in zip((theta, gradient, *state), before, strict=True):
            np.testing.assert_array_equal(array, kept)
        assert {found.dtype, *(slot.dtype for slot in after)} == {np.dtype(np.float32)}
        assert not any(np.shares_memory(array, gradient) for array in (found, *after))
        assert not np.array_equal(found, theta)
        theta, state = found, after


def test_centred_variance_below_zero_by_rounding_gives_no_nan():
    optimizer = rmsprop(alpha=0.5, centered=True)
    # A variance of -1e-20 where the exact one is 0.
    state = (np.array([1e-20 * (1 - 1e-3)]), np.array([1e-10]), np.array([0.0]))
    found, _ = optimizer.update(
        np.array([1.0]), np.array([1e-10]), state, 0.01, 5, optimizer.options
    )
    assert np.isfinite(found).all()


def test_every_optimizer_has_a_default_rate():
    assert set(DEFAULT_RATES) == set(OPTIMIZERS) - {"averaged"}


# --- schedules

RATE = 0.3

# our schedule, torch's scheduler from its module and an optimizer
SCHEDULED = [
    (constant(RATE), lambda s, o: s.LambdaLR(o, lambda t: 1.0)),
    (inverse_time(RATE, 0.05), lambda s, o: s.LambdaLR(o, lambda t: 1.0 / (1.0 + 0.05 * t))),
    (exponential(RATE, 0.99), lambda s, o: s.ExponentialLR(o, 0.99)),
    (step_decay(RATE, 70), lambda s, o: s.StepLR(o, 70)),
    (step_decay(RATE, 1, 0.995), lambda s, o: s.StepLR(o, 1, 0.995)),
    (cosine(RATE, 1000), lambda s, o: s.CosineAnnealingLR(o, 1000)),
    (cosine(RATE, 90, floor=0.01), lambda s, o: s.CosineAnnealingLR(o, 90, eta_min=0.01)),
    (cosine(RATE, 1), lambda s, o: s.CosineAnnealingLR(o, 1)),
    (warm_up(RATE, 7), lambda s, o: s.LinearLR(o, total_iters=7)),
    (warm_up(RATE, 100, 0.01), lambda s, o: s.LinearLR(o, 0.01, total_iters=100)),
    (
        warm_up(RATE, 20, 0.5, then=step_decay(RATE, 100, 0.5)),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.5, total_iters=20), s.StepLR(o, 100, 0.5)], [20]
        ),
    ),
]
IDS = [written(case[0]) for case in SCHEDULED]


@pytest.mark.parametrize(("schedule", "oracle"), SCHEDULED, ids=IDS)
def test_rates_are_those_of_torch(torch, schedule, oracle):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = oracle(torch.optim.lr_scheduler, optimizer)
    theirs = []
    for _ in range(STEPS):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(tabulate(schedule, 0, STEPS), theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("schedule", [case[0] for case in SCHEDULED], ids=IDS)
def test_rates_one_by_one_description_and_pickle_are_the_same(schedule):
    rates = tabulate(schedule, 13, 200)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [schedule(step) for step in range(13, 213)])
    assert type(schedule(0)) is float
    assert choose(written(schedule), SCHEDULES, "schedule") == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_cosine_keeps_its_period_after_a_billion_steps():
    np.testing.assert_array_equal(
        tabulate(cosine(RATE, 90), 180 * 10**9, 180), tabulate(cosine(RATE, 90), 0, 180)
    )


def test_a_function_is_called_once_a_step_with_a_python_int():
    seen = []

    def halved(step):
        seen.append(step)
        return [Fraction(1, 2), np.float32(0.5), np.array(0.5), 0.5][step - 10]

    np.testing.assert_array_equal(tabulate(halved, 10, 4), [0.5] * 4)
    assert seen == [10, 11, 12, 13]
    assert {type(step) for step in seen} == {int}
    assert tabulate(halved, 5, 0).shape == tabulate(constant(RATE), 5, 0).shape == (0,)


def test_a_function_may_follow_a_warm_up():
    schedule = warm_up(RATE, 2, 0.5, then=lambda step: 0.1 if step == 0 else 0.01)
    np.testing.assert_allclose(tabulate(schedule, 0, 4), [0.15, 0.225, 0.1, 0.01])


def falling(step):
    return 1.0 - 0.4 * step


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (falling, r"falling gives the learning rate -0\.2\d* at step 3"),
        (lambda step: None, "returns None at step 2; it must return a finite number"),
        (lambda step: np.array([0.1]), r"returns array\(\[0\.1\]\) at step 2"),
        (lambda step: 0.1 if step < 3 else float("inf"), "returns inf at step 3"),
        (exponential(1.0, 1e200), r"exponential\(.*\) gives the learning rate inf at step 2"),
        (exponential(0.0, 1e200), "gives the learning rate nan at step 2"),
        (warm_up(1.0, 3, then=lambda step: -1.0), r"gives the learning rate -1\.0 at step 3"),
        ("cosine", "A schedule must be a function step -> rate, not 'cosine'; known are constant"),
    ],
)
def test_a_rate_that_is_none_is_named_with_its_step(schedule, message):
    with pytest.raises(UsageError, match=message):
        tabulate(schedule, 2, 4)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (constant(0.1), "constant(rate=0.1)"),
        (warm_up(0.1, 5, then=falling), "warm_up(rate=0.1, steps=5, then=falling)"),
        (functools.partial(falling), "falling"),
        (type("Halving", (), {"__call__": falling})(), "Halving"),
    ],
)
def test_description_of_a_schedule(schedule, text):
    assert written(schedule) == text
