"""Whole fits against torch: its autograd, its optimizers, its schedulers, step by step."""

from functools import cache

import numpy as np
import pytest

import sgdfit
from sgdfit.kernel.shuffle import shuffled
from sgdfit.optimizers import averaged, describe, sgd
from test_optimizers import CASES as OPTIMIZERS
from test_optimizers import as_torch

torch = pytest.importorskip("torch", reason="torch is the oracle")
pytestmark = pytest.mark.torch

STEPS = 1000
TOLERANCE = 1e-10
ROWS = 48
RANDOM = np.random.default_rng(5)
X = np.sort(RANDOM.uniform(-2, 2, ROWS))
DATA = {
    "x": X,
    "y": 2 * X**2 + 3 * X + 4 + RANDOM.normal(0, 1, ROWS),
    "d": 3 * np.exp(-0.8 * (X + 2)) + 0.5 + 0.05 * np.sin(37 * X),
    "n": RANDOM.poisson(np.exp(0.3 * X + 1)).astype(float),
    "w": RANDOM.uniform(0.2, 3.0, ROWS),
}

# our optimizer, the class in torch.optim, its options
CASES = [(optimizer, *as_torch(optimizer)) for optimizer in OPTIMIZERS]
# our schedule from a rate, the scheduler in torch from an optimizer
SCHEDULED = {
    "inverse_time(decay=0.01)": lambda s, o: s.LambdaLR(o, lambda t: 1.0 / (1.0 + 0.01 * t)),
    "exponential(gamma=0.998)": lambda s, o: s.ExponentialLR(o, gamma=0.998),
    "step_decay(size=150, gamma=0.5)": lambda s, o: s.StepLR(o, step_size=150, gamma=0.5),
    "cosine(steps=400, floor=0.0001)": lambda s, o: s.CosineAnnealingLR(o, 400, eta_min=1e-4),
    "warm_up(steps=50, start=0.1, then=cosine(steps=950))": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, start_factor=0.1, total_iters=50), s.CosineAnnealingLR(o, 950)],
        milestones=[50],
    ),
}


# As in test_optimizer: adaptive steps double rounding errors around a minimum, so that their
# rates are such that a whole run ends shortly before it.
class Quadratic:
    formula, response, loss = "y = a*x**2 + b*x + c", "y", "mse"
    start, sgd_rate, rate = {"a": 4.0, "b": 5.0, "c": 7.0}, 0.01, 0.001

    @staticmethod
    def losses(v, x, y):
        return (v["a"] * x**2 + v["b"] * x + v["c"] - y) ** 2


class Decay:
    formula, response, loss = "d = a*exp(-b*(x + 2)) + c", "d", "mse"
    start, sgd_rate, rate = {"a": 1.0, "b": 1.5, "c": 0.0}, 0.02, 0.0005

    @staticmethod
    def losses(v, x, y):
        return (v["a"] * torch.exp(-v["b"] * (x + 2)) + v["c"] - y) ** 2


class Counts:
    formula, response, loss = "n = exp(a*x + b)", "n", "poisson"
    start, sgd_rate, rate = {"a": 0.0, "b": 0.0}, 0.01, 0.0005

    @staticmethod
    def losses(v, x, y):
        nll = torch.nn.functional.poisson_nll_loss
        return nll(torch.exp(v["a"] * x + v["b"]), y, log_input=False, eps=0.0, reduction="none")


class Robust:
    formula, response, loss = "y = a*tanh(b*x) + c", "y", "huber(delta=1.5, scale=absolute)"
    start, sgd_rate, rate = {"a": 1.0, "b": 0.5, "c": 1.0}, 0.05, 0.001

    @staticmethod
    def losses(v, x, y):
        huber = torch.nn.functional.huber_loss
        return huber(v["a"] * torch.tanh(v["b"] * x) + v["c"], y, delta=1.5, reduction="none")


PROBLEMS = [Quadratic, Decay, Counts, Robust]
over_problems = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.__name__)


def full(step):
    return np.arange(ROWS)


def batches(size, seed):
    per_epoch = -(-ROWS // size)

    def rows(step):
        epoch, position = divmod(step, per_epoch)
        return shuffled(ROWS, seed, epoch).indices()[position * size : (position + 1) * size]

    return rows


def descend(problem, kind, options, rate, *, rows, scheduler, steps, weighted, dtype):
    """Return parameters (steps + 1, p) and losses (steps,) of torch's own run."""
    values = {k: torch.tensor(v, dtype=dtype, requires_grad=True) for k, v in problem.start.items()}
    x, y = (torch.tensor(DATA[name], dtype=dtype) for name in ("x", problem.response))
    weights = torch.tensor(DATA["w"] / DATA["w"].mean(), dtype=dtype)
    optimizer = getattr(torch.optim, kind)(list(values.values()), lr=rate, foreach=False, **options)
    schedule = scheduler and scheduler(torch.optim.lr_scheduler, optimizer)
    path, losses = [[v.item() for v in values.values()]], []
    for step in range(steps):
        taken = torch.from_numpy(rows(step))
        each = problem.losses(values, x[taken], y[taken])
        loss = (each * weights[taken] if weighted else each).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        path.append([v.item() for v in values.values()])
        losses.append(loss.item())
    return np.array(path), np.array(losses)


@cache
def theirs(
    problem,
    kind,
    options,
    rate,
    rows=full,
    scheduler=None,
    steps=STEPS,
    weighted=False,
    dtype=torch.float64,
):
    return descend(
        problem,
        kind,
        dict(options),
        rate,
        rows=rows,
        scheduler=scheduler,
        steps=steps,
        weighted=weighted,
        dtype=dtype,
    )


def ours(problem, optimizer, **options):
    options = {"steps": STEPS, "learning_rate": rate_of(problem, optimizer)} | options
    return sgdfit.fit(
        problem.formula,
        DATA,
        loss=problem.loss,
        start=problem.start,
        optimizer=optimizer,
        **options,
    )


def rate_of(problem, optimizer):
    return problem.sgd_rate if optimizer.name == "sgd" else problem.rate


def frozen(options):
    return tuple(options.items())


def assert_same(fit, path, losses, tolerance=TOLERANCE):
    assert np.isfinite(path).all()
    assert np.abs(path[-1] - path[0]).max() > 1e-2, "the path must go somewhere"
    assert fit.trace.parameters.shape == path.shape
    gap = np.abs(fit.trace.parameters - path) / np.maximum(1, np.abs(path))
    assert gap.max() < tolerance
    gap = np.abs(fit.trace.loss[:-1] - losses) / np.maximum(1, np.abs(losses))
    assert gap.max() < tolerance
    ended = [fit.estimates[name].value for name in fit.free]
    np.testing.assert_allclose(ended, path[-1], rtol=tolerance, atol=tolerance)


IDS = [describe(case[0]) for case in CASES]
# One of each update; each compiles its own kernel, which takes seconds.
COMPILED = [CASES[IDS.index(name)] for name in ("sgd(momentum=0.8)", "rmsprop(centered=True)")]
COMPILED += [case for case in CASES if case[0].name == "adamw"][-1:]


PAIRS = [(Decay, *case) for case in CASES]
# Of the other problems one case of each optimizer: the last, with the most options.
LAST = {case[1]: case for case in CASES}.values()
PAIRS += [(problem, *case) for problem in (Quadratic, Counts, Robust) for case in LAST]


@pytest.mark.parametrize(
    ("problem", "optimizer", "kind", "options"),
    PAIRS,
    ids=[f"{problem.__name__}-{describe(optimizer)}" for problem, optimizer, *_ in PAIRS],
)
def test_full_batch_fit_is_that_of_torch(problem, optimizer, kind, options):
    rate = rate_of(problem, optimizer)
    assert_same(ours(problem, optimizer), *theirs(problem, kind, frozen(options), rate))


@pytest.mark.parametrize("problem", [Decay, Robust], ids=lambda p: p.__name__)
@pytest.mark.parametrize(("optimizer", "kind", "options"), COMPILED, ids=lambda c: str(c)[:20])
def test_compiled_fit_is_that_of_torch(problem, optimizer, kind, options):
    rate = rate_of(problem, optimizer)
    fit = ours(problem, optimizer, kernel="compiled")
    assert fit.kernel == "compiled"
    assert_same(fit, *theirs(problem, kind, frozen(options), rate))


@pytest.mark.parametrize("text", SCHEDULED)
@pytest.mark.parametrize("problem", [Quadratic, Decay], ids=lambda p: p.__name__)
@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
def test_scheduled_fit_is_that_of_torch(problem, text, kernel):
    optimizer = sgd(momentum=0.5)
    # The same rate for both, since the floor of the cosine is one.
    fit = ours(problem, optimizer, schedule=text, kernel=kernel)
    scheduler = SCHEDULED[text]
    path, losses = theirs(
        problem, "SGD", (("momentum", 0.5),), problem.sgd_rate, scheduler=scheduler
    )
    assert_same(fit, path, losses)
    assert np.unique(fit.trace.learning_rate[:-1]).size > 5


@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("size", [1, 7, 16])
@pytest.mark.parametrize("problem", [Quadratic, Decay], ids=lambda p: p.__name__)
def test_batches_in_the_same_order_give_the_run_of_torch(problem, size, weighted, kernel):
    optimizer, kind, options = CASES[IDS.index("sgd(momentum=0.8)")]
    rate = problem.sgd_rate / 10
    fit = ours(
        problem,
        optimizer,
        learning_rate=rate,
        batch_size=size,
        seed=11,
        weights="w" if weighted else None,
        kernel=kernel,
    )
    rows = in_batches(size, 11)
    path, losses = theirs(problem, kind, frozen(options), rate, rows=rows, weighted=weighted)
    assert_same(fit, path, losses)
    assert fit.epochs == STEPS // -(-ROWS // size)


in_batches = cache(batches)


@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
@pytest.mark.parametrize("start", [0, 300])
def test_average_of_the_iterates_is_that_of_torchs_path(start, kernel):
    optimizer = averaged(sgd(), start=start)
    fit = ours(Decay, optimizer, batch_size=7, seed=11, learning_rate=0.001, kernel=kernel)
    path, _ = theirs(Decay, "SGD", (), 0.001, rows=in_batches(7, 11))
    found = [fit.estimates[name].value for name in fit.free]
    np.testing.assert_allclose(found, path[start + 1 :].mean(axis=0), rtol=1e-10)


@over_problems
@pytest.mark.parametrize(
    ("optimizer", "kind", "options"), [CASES[0], CASES[1], CASES[-1]], ids=lambda c: str(c)[:20]
)
def test_float32_fit_is_that_of_torch_to_its_rounding(problem, optimizer, kind, options):
    rate = rate_of(problem, optimizer) * 2
    fit = ours(problem, optimizer, learning_rate=rate, steps=10, dtype="float32")
    path, losses = theirs(problem, kind, frozen(options), rate, steps=10, dtype=torch.float32)
    assert fit.dtype == "float32"
    assert (fit.trace.parameters == fit.trace.parameters.astype(np.float32)).all()
    exact = ours(problem, optimizer, learning_rate=rate, steps=10)
    assert (fit.trace.parameters[1:] != exact.trace.parameters[1:]).all()
    gap = np.abs(fit.trace.parameters - path) / np.maximum(1, np.abs(path))
    assert gap.max() < 2e-6
    np.testing.assert_allclose(fit.trace.loss[:-1], losses, rtol=3e-6)
