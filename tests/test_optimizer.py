"""Optimizers against torch.optim: the same gradients, whole trajectories side by side."""

from functools import cache
from typing import NamedTuple

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
from sgdfit.optimizers import schedule as schedules

STEPS = 1000
TOLERANCE = 1e-10


def bowl(theta, step):
    """Curvatures from 0.01 to 10, the least-squares answer at (1, -1, 2, 0)."""
    return np.array([0.01, 0.3, 2.0, 10.0]) * (theta - np.array([1.0, -1.0, 2.0, 0.0]))


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


class Problem(NamedTuple):
    gradient: object
    start: tuple
    sgd_rate: float
    rate: float


# Adaptive steps do not shrink at a minimum: there they overshoot to and fro and double a rounding
# error every few steps, in torch as here (a test below shows it). The rates of whole trajectories
# are therefore such that they end shortly before; what happens at a minimum is compared step by
# step, from torch's parameters, at ten times these rates.
PROBLEMS = {
    "bowl": Problem(bowl, (-1.5, 1.5, -0.5, 2.5), 0.02, 0.002),
    "rosenbrock": Problem(rosenbrock, (-1.0, 1.5), 2e-4, 0.001),
    "decay curve": Problem(decay_curve, (1.0, 0.3, 0.0), 0.05, 0.0005),
    "batches": Problem(batches, (0.0, 0.0, 0.0), 0.02, 0.002),
}

# our optimizer, the class in torch.optim, its options
CASES = [
    (sgd(), "SGD", {}),
    (sgd(momentum=0.8), "SGD", {"momentum": 0.8}),
    (sgd(momentum=0.8, dampening=0.3), "SGD", {"momentum": 0.8, "dampening": 0.3}),
    (sgd(momentum=0.7, nesterov=True), "SGD", {"momentum": 0.7, "nesterov": True}),
    (sgd(weight_decay=0.1), "SGD", {"weight_decay": 0.1}),
    (
        sgd(momentum=0.6, nesterov=True, weight_decay=0.02),
        "SGD",
        {"momentum": 0.6, "nesterov": True, "weight_decay": 0.02},
    ),
    (adagrad(), "Adagrad", {}),
    (adagrad(lr_decay=0.01), "Adagrad", {"lr_decay": 0.01}),
    (adagrad(weight_decay=0.1), "Adagrad", {"weight_decay": 0.1}),
    (adagrad(initial_accumulator=0.5), "Adagrad", {"initial_accumulator_value": 0.5}),
    (adagrad(epsilon=0.1), "Adagrad", {"eps": 0.1}),
    (rmsprop(), "RMSprop", {}),
    (rmsprop(alpha=0.9), "RMSprop", {"alpha": 0.9}),
    (rmsprop(epsilon=1e-2), "RMSprop", {"eps": 1e-2}),
    (rmsprop(weight_decay=0.1), "RMSprop", {"weight_decay": 0.1}),
    (rmsprop(momentum=0.5), "RMSprop", {"momentum": 0.5}),
    (rmsprop(centered=True), "RMSprop", {"centered": True}),
    (
        rmsprop(momentum=0.3, centered=True, weight_decay=0.01),
        "RMSprop",
        {"momentum": 0.3, "centered": True, "weight_decay": 0.01},
    ),
    (adam(), "Adam", {}),
    (adam(beta1=0.8), "Adam", {"betas": (0.8, 0.999)}),
    (adam(beta1=0.3), "Adam", {"betas": (0.3, 0.999)}),
    (adam(beta2=0.95), "Adam", {"betas": (0.9, 0.95)}),
    (adam(epsilon=1e-2), "Adam", {"eps": 1e-2}),
    (adam(weight_decay=0.1), "Adam", {"weight_decay": 0.1}),
    (adam(beta2=0.9, amsgrad=True), "Adam", {"betas": (0.9, 0.9), "amsgrad": True}),
    (adamw(), "AdamW", {}),
    (adamw(weight_decay=0.1), "AdamW", {"weight_decay": 0.1}),
    (
        adamw(beta1=0.8, beta2=0.9, epsilon=1e-6, weight_decay=0.05, amsgrad=True),
        "AdamW",
        {"betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.05, "amsgrad": True},
    ),
]

# schedule from a rate, the scheduler in torch from an optimizer
SCHEDULED = {
    "inverse_time(decay=0.01)": lambda s, o: s.LambdaLR(o, lambda t: 1.0 / (1.0 + 0.01 * t)),
    "exponential(gamma=0.998)": lambda s, o: s.ExponentialLR(o, gamma=0.998),
    "step_decay(size=150, gamma=0.5)": lambda s, o: s.StepLR(o, step_size=150, gamma=0.5),
    "cosine(steps=400, floor=0.0001)": lambda s, o: s.CosineAnnealingLR(o, 400, eta_min=1e-4),
    "warm_up(steps=50)": lambda s, o: s.LinearLR(o, total_iters=50),
    "warm_up(steps=50, start=0.1, then=cosine(steps=950))": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, start_factor=0.1, total_iters=50), s.CosineAnnealingLR(o, 950)],
        milestones=[50],
    ),
}


def with_arrays(optimizer, problem, rates):
    """Return the trajectory of shape (steps, p) of the update on NumPy arrays."""
    theta = np.array(problem.start)
    state = optimizer.init(theta, optimizer.options)
    path = []
    for step, rate in enumerate(rates, start=1):
        gradient = problem.gradient(theta, step)
        theta, state = optimizer.update(theta, gradient, state, rate, step, optimizer.options)
        path.append(theta)
    return np.array(path)


@cache
def compiled(update):
    numba = pytest.importorskip("numba")
    return numba.njit(update)


def with_scalars(optimizer, problem, rates):
    """Return the trajectory of the compiled update, called for each parameter by itself."""
    update, options = compiled(optimizer.update), optimizer.options
    theta = [float(value) for value in problem.start]
    arrays = optimizer.init(np.array(problem.start), options)
    states = [tuple(float(slot[i]) for slot in arrays) for i in range(len(theta))]
    path = []
    for step, rate in enumerate(rates, start=1):
        gradient = problem.gradient(np.array(theta), step).tolist()
        for i, value in enumerate(theta):
            theta[i], states[i] = update(value, gradient[i], states[i], rate, step, options)
        path.append(list(theta))
    return np.array(path)


def with_torch(torch, kind, options, problem, rate, scheduler=None, steps=STEPS):
    """Return torch's trajectory, from the same gradients."""
    theta = torch.nn.Parameter(torch.tensor(problem.start, dtype=torch.float64))
    oracle = getattr(torch.optim, kind)([theta], lr=rate, foreach=False, **options)
    schedule = scheduler and scheduler(torch.optim.lr_scheduler, oracle)
    path = []
    for step in range(1, steps + 1):
        theta.grad = torch.from_numpy(problem.gradient(theta.detach().numpy(), step))
        oracle.step()
        if schedule:
            schedule.step()
        path.append(theta.detach().numpy().copy())
    return np.array(path)


def assert_same_path(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.isfinite(theirs).all()
    assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3, "the path must go somewhere"
    gap = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
    assert gap.max() < TOLERANCE


def rate_of(optimizer, problem):
    return problem.sgd_rate if optimizer.name == "sgd" else problem.rate


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize(
    ("optimizer", "kind", "options"), CASES, ids=[describe(case[0]) for case in CASES]
)
def test_trajectory_is_that_of_torch(torch, optimizer, kind, options, problem):
    rate = rate_of(optimizer, problem)
    theirs = with_torch(torch, kind, options, problem, rate)
    assert_same_path(with_arrays(optimizer, problem, [rate] * STEPS), theirs)
    assert_same_path(with_scalars(optimizer, problem, [rate] * STEPS), theirs)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize(
    ("optimizer", "kind", "options"), CASES, ids=[describe(case[0]) for case in CASES]
)
def test_each_step_is_that_of_torch_around_the_minimum_too(
    torch, optimizer, kind, options, problem
):
    rate = problem.sgd_rate if optimizer.name == "sgd" else 10.0 * problem.rate
    theirs = with_torch(torch, kind, options, problem, rate)
    before = np.vstack([problem.start, theirs[:-1]])
    state, ours = optimizer.init(before[0], optimizer.options), []
    for step, theta in enumerate(before, start=1):
        gradient = problem.gradient(theta, step)
        found, state = optimizer.update(theta, gradient, state, rate, step, optimizer.options)
        ours.append(found)
    assert_same_path(np.array(ours), theirs)


def test_torch_itself_doubles_rounding_errors_around_a_minimum(torch):
    problem, rate = PROBLEMS["decay curve"], 0.01
    moved = problem._replace(start=(1.0 + 1e-15, 0.3, 0.0))
    paths = [
        with_torch(torch, "RMSprop", {"alpha": 0.9}, start, rate) for start in (problem, moved)
    ]
    assert np.abs(paths[0] - paths[1]).max() > 1e6 * TOLERANCE


@pytest.mark.parametrize("problem", ["decay curve", "batches"])
@pytest.mark.parametrize("text", SCHEDULED)
@pytest.mark.parametrize(
    ("optimizer", "kind", "options"),
    [(sgd(momentum=0.5), "SGD", {"momentum": 0.5}), (adam(), "Adam", {}), (adamw(), "AdamW", {})],
    ids=["sgd", "adam", "adamw"],
)
def test_scheduled_trajectory_is_that_of_torch(torch, optimizer, kind, options, text, problem):
    problem = PROBLEMS[problem]
    rate = rate_of(optimizer, problem)
    schedule = choose(text, schedules.SCHEDULES, "schedule", rate=rate)
    rates = schedules.tabulate(schedule, 0, STEPS).tolist()
    theirs = with_torch(torch, kind, options, problem, rate, SCHEDULED[text])
    assert_same_path(with_arrays(optimizer, problem, rates), theirs)
    assert_same_path(with_scalars(optimizer, problem, rates), theirs)


@pytest.mark.parametrize("start", [0, 1, 300])
def test_average_is_that_of_torch(torch, start):
    problem, optimizer = PROBLEMS["batches"], averaged(sgd(), start=start)
    module = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    oracle = torch.optim.swa_utils.AveragedModel(module)
    theirs = with_torch(torch, "SGD", {}, problem, problem.sgd_rate)
    for theta in theirs[start:]:
        module.weight.data[:] = torch.from_numpy(theta)
        oracle.update_parameters(module)
    average = np.zeros(3)
    path = with_arrays(optimizer, problem, [problem.sgd_rate] * STEPS)
    for step, theta in enumerate(path, start=1):
        if step > optimizer.average_from:
            average += (theta - average) / (step - optimizer.average_from)
    np.testing.assert_allclose(average, oracle.module.weight.detach()[0], rtol=0, atol=1e-10)


TORCH_NAMES = {"epsilon": "eps", "initial_accumulator": "initial_accumulator_value"}
RANGES = [
    (name, option)
    for name, optimizer in {n: f() for n, f in OPTIMIZERS.items() if n != "averaged"}.items()
    for option in optimizer.option_names
    if option not in {"nesterov", "centered", "amsgrad", "decoupled"}
]


@pytest.mark.parametrize("value", [-1.0, -1e-9, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize(("name", "option"), RANGES)
def test_options_are_refused_where_torch_refuses_them(torch, name, option, value):
    kind = {"sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam"}
    arguments = {TORCH_NAMES.get(option, option): value}
    if option in {"beta1", "beta2"}:
        arguments = {"betas": (value, 0.9) if option == "beta1" else (0.9, value)}
    try:
        getattr(torch.optim, kind.get(name, "AdamW"))([torch.zeros(1)], lr=0.1, **arguments)
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
        (lambda: sgd(momentum=True), "momentum of sgd must be a finite number, not True"),
        (lambda: adam(beta1=float("nan")), "beta1 of adam must be a finite number, not nan"),
        (lambda: adam(epsilon=float("inf")), "epsilon of adam must be a finite number, not inf"),
        (lambda: adam(amsgrad=0.5), "amsgrad of adam must be True or False, not 0.5"),
        (lambda: averaged(adam), "averaged needs an optimizer such as"),
        (lambda: averaged(averaged()), r"averaged\(sgd\) is averaged already"),
        (lambda: averaged(start=-1), "start of averaged must be a whole number, 0 or more"),
        (lambda: averaged(start=1.5), "start of averaged must be a whole number, 0 or more"),
    ],
)
def test_misuse_is_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()


ALL = [case[0] for case in CASES] + [averaged(), averaged(adam(beta1=0.8), start=100)]


@pytest.mark.parametrize("optimizer", ALL, ids=describe)
def test_description_is_read_back(optimizer):
    assert choose(describe(optimizer), OPTIMIZERS, "optimizer") == optimizer


def test_description_leaves_out_defaults():
    assert describe(sgd(momentum=0.9, nesterov=True)) == "sgd(momentum=0.9, nesterov=True)"
    assert describe(adamw(weight_decay=1e-2)) == "adamw"
    assert describe(averaged(rmsprop(alpha=0.9), 5)) == "averaged(rmsprop(alpha=0.9), start=5)"
    assert describe(Optimizer("mine", *sgd()[1:3], (0.5,), ("k",))) == "mine(k=0.5)"


@pytest.mark.parametrize("optimizer", ALL, ids=describe)
def test_float32_stays_float32_and_arguments_stay_as_they_are(optimizer):
    theta = np.array([1.0, -2.0, 0.5], dtype=np.float32)
    gradient = np.array([0.3, -0.1, 2.0], dtype=np.float32)
    state = optimizer.init(theta, optimizer.options)
    assert len(state) >= 1
    for step in (1, 2, 3):
        before = [array.copy() for array in (theta, gradient, *state)]
        found, after = optimizer.update(theta, gradient, state, 0.01, step, optimizer.options)
        for array, kept in zip((theta, gradient, *state), before, strict=True):
            np.testing.assert_array_equal(array, kept)
        assert {found.dtype, *(slot.dtype for slot in after)} == {np.dtype(np.float32)}
        assert {slot.shape for slot in after} == {theta.shape}
        assert not any(np.shares_memory(array, gradient) for array in (found, *after))
        assert not np.array_equal(found, theta)
        theta, state = found, after


def test_centred_variance_below_zero_by_rounding_gives_no_nan():
    optimizer = rmsprop(alpha=0.5, centered=True)
    theta = np.array([1.0])
    # A variance of -1e-20 where the exact one is 0.
    state = (np.array([1e-20 * (1 - 1e-3)]), np.array([1e-10]), np.array([0.0]))
    found, _ = optimizer.update(theta, np.array([1e-10]), state, 0.01, 5, optimizer.options)
    assert np.isfinite(found).all()


def test_every_optimizer_has_a_default_rate():
    assert set(DEFAULT_RATES) == set(OPTIMIZERS) - {"averaged"}
