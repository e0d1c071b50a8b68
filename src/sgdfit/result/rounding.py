"""Numbers as text: a value and its error rounded together, to the same decimal."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

ERROR_DIGITS = 2  # one digit of 0.14 would overstate it by up to 40 %
FLOAT_DIGITS = 17  # as many tell every float64 from its neighbours
VALUE_DIGITS = 6  # of a value that comes without an error
PLAIN = range(-4, 6)  # leading exponents that read well without e-notation
LEADING_ZEROS = 5  # an error of 0.0000010 is still read at a glance; a longer one is not
DWARFED = 100  # beyond this many times the value, two digits of the error leave it no digit
DWARFED_DIGITS = 3
SURE = 1e-14  # an error below this share of the value is of digits that floats hardly hold
SURE_DIGITS = 15  # as many every float64 holds

# A float needs at most 767 digits when written out, and its exponent spans 1e-324 to 1e308.
_EXACT = Context(prec=1100, rounding=ROUND_HALF_EVEN)


def plus_minus(value: float, error: float | None) -> str:
    """Write ``value ± error``, both rounded to two significant digits of the error.

    Without an error to go by (None, zero, infinite, NaN) the value keeps six significant digits.
    Numbers far from 1 share a power of ten. All figures read back as floats.

    >>> plus_minus(2.07485717, 0.5149), plus_minus(2.07485717, None)
    ('2.07 ± 0.51', '2.07486')
    >>> plus_minus(2.0748e-12, 2.31e-14)
    '(2.075 ± 0.023)e-12'
    """
    if error is None:
        return number(value)
    error = abs(error)
    if not _usable(value, error):
        return f"{number(value)} ± {number(error)}"
    if _dwarfed(value, error):
        return f"{number(value, DWARFED_DIGITS)} ± {number(error, ERROR_DIGITS)}"
    last, shared = _grid(value, error)
    if shared - last - ERROR_DIGITS < LEADING_ZEROS:
        return _pair("±", value, error, last, shared)
    # the error would be mostly zeros, so that it takes an exponent of its own
    cut, power = _cut(error, _last_digit(error)), f"e{shared}" if shared else ""
    text = f"{_shifted(_cut(value, last), -shared)}{power}"
    if error < SURE * abs(value):
        text = number(value, SURE_DIGITS)
    return f"{text} ± {_shifted(cut, -cut.adjusted())}e{cut.adjusted()}"


def interval_text(low: float, high: float, value: float, error: float | None) -> str:
    """Write the interval of an estimate, cut at the same decimal as the estimate itself.

    >>> interval_text(1.06, 3.0896, 2.07485717, 0.5149)
    '1.06 … 3.09'
    >>> interval_text(1.9e-12, 2.2e-12, 2.0748e-12, 2.31e-14)
    '(1.900 … 2.200)e-12'
    """
    if error is None or not _usable(value, error):
        return f"{number(low)} … {number(high)}"
    if _dwarfed(value, error):
        return f"{number(low, DWARFED_DIGITS)} … {number(high, DWARFED_DIGITS)}"
    if error < SURE * abs(value):
        return f"{number(low, SURE_DIGITS)} … {number(high, SURE_DIGITS)}"
    return _pair("…", low, high, *_grid(value, error))


def number(value: float, digits: int = VALUE_DIGITS) -> str:
    """Write a number alone, with at most ``digits`` significant digits.

    >>> number(6.251991379811), number(3.1e-09), number(-0.0), number(2e6), number(4826, 2)
    ('6.25199', '3.1e-9', '0', '2e6', '4800')
    """
    if not math.isfinite(value):
        return str(float(value))
    cut = Decimal(f"{value:.{digits - 1}e}")
    lead = 0 if cut.is_zero() or cut.adjusted() in PLAIN else cut.adjusted()
    text = _shifted(cut, -lead)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}e{lead}" if lead else text


def duration(seconds: float) -> str:
    """Write a time span in the units that a person would use.

    >>> duration(0.01347), duration(0.00000213), duration(125.4), duration(7265)
    ('13.5 ms', '2.13 µs', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 1e-3:
        return f"{number(seconds * 1e6, 3)} µs"
    if seconds < 1:
        return f"{number(seconds * 1e3, 3)} ms"
    if seconds < 100:
        return f"{number(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _usable(value: float, error: float) -> bool:
    return math.isfinite(value) and math.isfinite(error) and error != 0


def _dwarfed(value: float, error: float) -> bool:
    """Whether the error would round the value away: 0 ± 6.1e-16, but 0.00 ± 0.30."""
    return abs(error) > DWARFED * abs(value) and (value != 0 or abs(error) < 10 ** PLAIN[0])


def _grid(value: float, error: float) -> tuple[int, int]:
    """Return the exponents of the last digit, as the error says, and of the power shared."""
    last = _last_digit(error)
    if value:
        last = max(last, _cut(value, last).adjusted() - FLOAT_DIGITS + 1)
    lead = max(_cut(x, last).adjusted() for x in (value, error))
    return last, 0 if lead in PLAIN else lead


def _pair(sign: str, first: float, second: float, last: int, shared: int) -> str:
    """Write two numbers, cut at one digit, with their shared exponent behind both."""
    texts = (
        _shifted(_cut(x, last), -shared) if math.isfinite(x) else str(float(x))
        for x in (first, second)
    )
    both = f" {sign} ".join(texts)
    return f"({both})e{shared}" if shared else both


def _last_digit(error: float) -> int:
    exact = Decimal(repr(abs(float(error))))
    last = exact.adjusted() - ERROR_DIGITS + 1
    # 0.0996 rounds up to 0.100, which has a digit too many
    return last + _cut(error, last).adjusted() - exact.adjusted()


def _cut(value: float, last: int) -> Decimal:
    """Round half to even at the digit of exponent ``last``."""
    exact = Decimal(repr(float(value)))
    return exact.quantize(Decimal(1).scaleb(last, _EXACT), context=_EXACT)


def _shifted(exact: Decimal, exponent: int) -> str:
    """Write ``exact`` times a power of ten in full, zero without a sign."""
    exact = exact.copy_abs() if exact.is_zero() else exact
    return format(exact.scaleb(exponent, _EXACT), "f")
