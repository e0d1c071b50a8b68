"""Schedules against torch.optim.lr_scheduler, step by step."""

import functools
import pickle
from fractions import Fraction

import numpy as np
import pytest

from sgdfit.choice import choose
from sgdfit.errors import UsageError
from sgdfit.optimizers.schedule import (
    SCHEDULES,
    constant,
    cosine,
    describe,
    exponential,
    inverse_time,
    step_decay,
    tabulate,
    warm_up,
)

RATE = 0.3
STEPS = 1000

# our schedule, torch's scheduler from its module and an optimizer
CASES = [
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
IDS = [describe(case[0]) for case in CASES]


@pytest.mark.parametrize(("schedule", "oracle"), CASES, ids=IDS)
def test_rates_are_those_of_torch(torch, schedule, oracle):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = oracle(torch.optim.lr_scheduler, optimizer)
    theirs = []
    for _ in range(STEPS):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(tabulate(schedule, 0, STEPS), theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("schedule", [case[0] for case in CASES], ids=IDS)
def test_rates_one_by_one_description_and_pickle_are_the_same(schedule):
    rates = tabulate(schedule, 13, 200)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [schedule(step) for step in range(13, 213)])
    assert type(schedule(0)) is float
    assert choose(describe(schedule), SCHEDULES, "schedule") == schedule
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
        (lambda step: "0.1", "returns '0.1' at step 2"),
        (lambda step: True, "returns True at step 2"),
        (lambda step: np.array(0.1 + 1j), "at step 2; it must return a finite number"),
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
    ("make", "message"),
    [
        (lambda: constant(-0.1), "rate of constant must be 0 or more, not -0.1"),
        (lambda: constant("fast"), "rate of constant must be a finite number, not 'fast'"),
        (lambda: inverse_time(0.1, -1), "decay of inverse_time must be 0 or more, not -1"),
        (lambda: exponential(0.1, -0.5), "gamma of exponential must be 0 or more"),
        (lambda: step_decay(0.1, 2.5), "size of step_decay must be a whole number, 1 or more"),
        (lambda: cosine(0.1, -3), "steps of cosine must be a whole number, 1 or more, not -3"),
        (lambda: cosine(0.1, 3, floor=-1.0), "floor of cosine must be 0 or more"),
        (lambda: warm_up(0.1, 3, start=0.0), "start of warm_up must be above 0 and at most 1"),
        (lambda: warm_up(0.1, 3, start=1.1), "start of warm_up must be above 0 and at most 1"),
        (lambda: warm_up(0.1, 3, then=0.1), "then of warm_up must be a schedule such as"),
    ],
)
def test_misuse_is_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (constant(0.1), "constant(rate=0.1)"),
        (warm_up(0.1, 5, then=falling), "warm_up(rate=0.1, steps=5, then=falling)"),
        (functools.partial(falling), "falling"),
        (type("Halving", (), {"__call__": falling})(), "Halving"),
    ],
)
def test_description(schedule, text):
    assert describe(schedule) == text
