"""Numbers as text: a value is shown to as many digits as its error, and reads back."""

import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sgdfit.result.rounding import duration, interval, number, plus_minus

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (2.07485717, 0.0231, "2.075 ± 0.023"),
        (123456.0, 1234.0, "123500 ± 1200"),
        (1234567.0, 1234.0, "(1.2346 ± 0.0012)e6"),
        # the error gains a digit by rounding: not 9.999 ± 0.100
        (9.999, 0.0996, "10.00 ± 0.10"),
        (0.0123, 0.000996, "0.0123 ± 0.0010"),
        # the value gains one
        (99999.996, 0.12, "100000.00 ± 0.12"),
        (999999.9, 12.0, "(1.000000 ± 0.000012)e6"),
        # an error larger than the value, and no negative zero
        (-0.046, 4.5, "0.0 ± 4.5"),
        # one above 100 times the value leaves it digits of its own
        (-0.0123456, 4.5, "-0.0123 ± 4.5"),
        (-0.0, 0.3, "0.00 ± 0.30"),
        (0.5, 25.0, "0 ± 25"),
        (1e-300, 1e300, "1e-300 ± 1e300"),
        # an error that would be mostly zeros
        (1.5, 1e-12, "1.5000000000000 ± 1.0e-12"),
        (1.5e-9, 1e-20, "1.500000000000e-9 ± 1.0e-20"),
        # never more digits than a float holds
        (-1.5, 1e-30, "-1.5000000000000000 ± 1.0e-30"),
        (5e-324, 5e-324, "(5.0 ± 5.0)e-324"),
        # half to even, on the decimal text: 0.125 is exact in binary, 2.675 is not
        (0.125, 0.10, "0.12 ± 0.10"),
        (2.675, 0.10, "2.68 ± 0.10"),
        # without a usable error
        (2.07485717, None, "2.07486"),
        (2.07485717, 0.0, "2.07486 ± 0"),
        (2.07485717, INF, "2.07486 ± inf"),
        (2.07485717, NAN, "2.07486 ± nan"),
        (NAN, 0.5, "nan ± 0.5"),
        (-INF, None, "-inf"),
    ],
)
def test_plus_minus(value, error, expected):
    assert plus_minus(value, error) == expected


@pytest.mark.parametrize(
    ("low", "high", "value", "error", "expected"),
    [
        (-0.001, 0.6, 0.3, 0.15, "0.00 … 0.60"),
        (-INF, INF, 0.3, INF, "-inf … inf"),
        (1.0, INF, 2.0, 0.5, "1.00 … inf"),
        (1.0, 2.0, 1.5, None, "1 … 2"),
        (-9.0123, 9.0363, 0.012, 4.5, "-9.01 … 9.04"),
    ],
)
def test_interval(low, high, value, error, expected):
    assert interval(low, high, value, error) == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (999999.7, 6, "1e6"),
        (123456.0, 2, "120000"),
        (0.00012345, 6, "0.00012345"),
        (0.000012345, 6, "1.2345e-5"),
        (20, 6, "20"),
        (1e100, 6, "1e100"),
        (NAN, 6, "nan"),
    ],
)
def test_number(value, digits, expected):
    assert number(value, digits) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "0 µs"), (1.0, "1 s")])
def test_duration(seconds, expected):
    assert duration(seconds) == expected


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_infinity=False)


@given(finite, positive)
@example(9.999, 0.0996)
@example(1e300, 5e-324)
@example(1.7976931348623157e308, 1.7976931348623157e308)
def test_rounded_texts_read_back_within_the_last_digit_of_the_error(value, error):
    both, _, power = plus_minus(value, error).strip("(").partition(")")
    shown, shown_error = (Decimal(text + power) for text in both.split(" ± "))
    last = Decimal(1).scaleb(shown_error.adjusted() - 1)
    assert shown_error % last == 0
    assert abs(shown_error - Decimal(repr(error))) <= last / 2
    # a value is never shown to more digits than the float itself has
    assert abs(shown - Decimal(repr(value))) <= max(last, abs(shown) * Decimal("1e-16")) / 2
    assert not (shown.is_zero() and shown.is_signed())
    assert len(plus_minus(value, error)) <= 36


@given(finite)
def test_a_number_alone_reads_back_to_six_digits(value):
    assert float(number(value)) == float(f"{value:.5e}") + 0.0
    assert not number(value).startswith("-0") or value <= -0.0001
