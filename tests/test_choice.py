"""What is read as a choice, what is refused and how, and that nothing is executed."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from sgdfit.choice import choose, number, spell, switch, whole
from sgdfit.errors import UsageError


def adam(beta1=None, beta2=None, weight_decay=None):
    return "adam", given(beta1=beta1, beta2=beta2, weight_decay=weight_decay)


def sgd(momentum=None, nesterov=None):
    return "sgd", given(momentum=momentum, nesterov=nesterov)


def inverse_time(decay, rate=None):
    return "inverse_time", given(decay=decay, rate=rate)


def averaged(optimizer: tuple, start: int | None = None):
    return "averaged", given(optimizer=optimizer, start=start)


def plain():
    return "plain", {}


def given(**options):
    return {name: value for name, value in options.items() if value is not None}


HALF = ("sgd", {"momentum": 0.5})
AVERAGED_HALF = ("averaged", {"optimizer": HALF})
TABLE = {f.__name__: f for f in (adam, sgd, inverse_time, averaged, plain)}


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("adam", "adam", {}),
        ("adam(beta1=0.8)", "adam", {"beta1": 0.8}),
        ("adam(0.8, beta2=1e-3)", "adam", {"beta1": 0.8, "beta2": 1e-3}),
        ("adam(beta1=-1e-3)", "adam", {"beta1": -1e-3}),
        ("adam(weight-decay=1e-2)", "adam", {"weight_decay": 0.01}),
        ("sgd(momentum=0.9, nesterov=true)", "sgd", {"momentum": 0.9, "nesterov": True}),
        ("inverse-time(decay=1e-3)", "inverse_time", {"decay": 1e-3}),
        ("averaged(sgd(0.5), start=9)", "averaged", {"optimizer": HALF, "start": 9}),
        ("averaged(averaged(sgd(0.5)))", "averaged", {"optimizer": AVERAGED_HALF}),
    ],
)
def test_what_is_read(text, name, options):
    found = choose(text, TABLE, "optimizer")
    assert found == (name, options)
    assert {type(value) for value in found[1].values()} == {type(v) for v in options.values()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adma", "Unknown optimizer 'adma'; known are adam, .* Did you mean 'adam'?"),
        ("adam(beta=0.5)", "Unknown option 'beta' of the optimizer 'adam'; allowed are beta1, "),
        ("adam(weight=0.5)", "allowed are beta1, beta2, weight_decay. Did you mean 'weight_decay'"),
        ("plain(x=1)", "Unknown option 'x' of the optimizer 'plain'; it takes no options"),
        ("sgd(0.9, True, 3)", "'sgd' got 3 options without a name; allowed are momentum, nesterov"),
        ("sgd(0.9, momentum=0.8)", "option 'momentum' of the optimizer 'sgd' is set twice"),
        ("inverse_time", "'inverse_time' lacks decay; write for example inverse_time"),
        ("averaged('adam')", "'averaged' must be again one of adam, sgd, .*, not \"'adam'\""),
        ("averaged(adam, start=foo)", "'start' .* must be a number, True or False, not 'foo'"),
        ("sgd(momentum='0.9')", "option 'momentum' .* must be a number, True or False"),
        ("sgd(momentum=-True)", "must be a number, True or False, not '-True'"),
        ("sgd(momentum=1+1)", "must be a number, True or False, not '1 \\+ 1'"),
        ("sgd(momentum=9**9**9)", "must be a number, True or False"),
        ("sgd(momentum=open('x'))", "must be a number, True or False"),
        ("sgd(**{})", "Cannot read the optimizer"),
        ("", "Cannot read the optimizer ''; write a name"),
        ("(lambda: 1)()", "Cannot read the optimizer"),
        ("__import__('os').system('true')", "Cannot read the optimizer"),
        ("(" * 199, "Cannot read the optimizer"),
        ("a" * 201, "is 201 characters long; at most 200 are allowed"),
        (None, "The optimizer must be given as text, not None; known are adam"),
    ],
)  # fmt: skip
def test_what_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        choose(text, TABLE, "optimizer")


@hypothesis.given(st.text(alphabet="adamsgd_-(),.=01e TrueFls*'[]{}:\n\\", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        name, _ = choose(text, TABLE, "optimizer")
    except UsageError:
        return
    assert name in TABLE


def test_what_is_given_elsewhere_is_passed_on_to_nested_choices_too():
    def scaled(rate, factor=1):
        return rate * factor

    def followed(rate, then):
        return (rate, then)

    table = {"scaled": scaled, "followed": followed}
    assert choose("scaled(factor=3)", table, "schedule", rate=0.5) == 1.5
    assert choose("followed(then=scaled)", table, "schedule", rate=0.5) == (0.5, 0.5)
    assert choose("scaled(rate=2)", table, "schedule") == 2
    for text in ("scaled(rate=2)", "scaled(2)", "followed(then=scaled(rate=2))"):
        with pytest.raises(UsageError, match=r"'rate' .* is set in the text and outside of it"):
            choose(text, table, "schedule", rate=0.5)
    with pytest.raises(UsageError, match="allowed are factor"):
        choose("scaled(size=2)", table, "schedule", rate=0.5)


@hypothesis.given(
    momentum=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30),
    nesterov=st.booleans(),
)
def test_what_is_spelled_is_read_back(momentum, nesterov):
    def heavy(momentum=0.0, nesterov=False):
        return momentum, nesterov

    text = spell("heavy", heavy, {"momentum": momentum, "nesterov": float(nesterov)})
    assert choose(text, {"heavy": heavy}, "optimizer") == (momentum, nesterov)


@pytest.mark.parametrize(
    "value",
    [
        *("1", None, True, np.True_, 1j, np.array(1j), [1.0], np.array([1.0]), 10**400),
        *(float("nan"), float("inf"), np.array("x"), np.array(None)),
    ],
)
def test_what_is_no_number(value):
    with pytest.raises(UsageError, match=r"^momentum must be a finite number, not "):
        number(value, "momentum")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2.0), np.int64(2), np.array(2)])
def test_what_is_a_number(value):
    assert number(value, "momentum") == 2.0
    assert type(number(value, "momentum")) is float
    assert whole(value, "steps", 2) == 2
    assert type(whole(value, "steps", 2)) is int
    with pytest.raises(UsageError, match=r"^steps must be a whole number, 3 or more, not "):
        whole(value, "steps", 3)
    with pytest.raises(UsageError, match=r"^nesterov must be True or False, not "):
        switch(value, "nesterov")
