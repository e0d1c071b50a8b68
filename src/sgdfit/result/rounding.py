"""Numbers as text: a value and its error rounded together, to the same decimal."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

ERROR_DIGITS = 2  # one digit of 0.14 would overstate it by up to 40 %
FLOAT_DIGITS = 17  # as many tell every float64 from its neighbours
VALUE_DIGITS = 6  # of a value that comes without an error
PLAIN = range(-4, 6)  # leading exponents that read well without e-notation
LEADING_ZEROS = 5  # an error of 0.0000010 is still read at a glance; a longer one is not
DWARFED = 100  # beyond this many times the value, two digits of the error leave it no digit
DWARFED_DIGITS = 3

# A float needs at most 767 digits when written out, and its exponent spans 1e-324 to 1e308.
_EXACT = Context(prec=1100, rounding=ROUND_HALF_EVEN)


class _Grid(NamedTuple):
    """The decimal at which numbers are cut, and the power of ten that they share."""

    last: int  # exponent of the last digit kept
    shared: int  # exponent written behind the numbers; 0 for none

    @property
    def exponent(self) -> str:
        return f"e{self.shared}" if self.shared else ""

    def text(self, value: float) -> str:
        """Round ``value`` to this grid, without the shared exponent."""
        if not math.isfinite(value):
            return str(float(value))
        return _shifted(_cut(value, self.last), -self.shared)

    def pair(self, sign: str, first: float, second: float) -> str:
        """Write two numbers with their shared exponent behind both."""
        both = f"{self.text(first)} {sign} {self.text(second)}"
        return f"({both}){self.exponent}" if self.shared else both


def rounded(value: float, error: float | None) -> tuple[str, str]:
    """Round a value and its error to two significant digits of the error.

    Without an error to go by (None, zero, infinite, NaN) the value keeps six significant
    digits. Both texts read back as floats.

    >>> rounded(2.07485717, 0.23149)
    ('2.07', '0.23')
    >>> rounded(2.0748e-12, 2.31e-14)
    ('2.075e-12', '0.023e-12')
    >>> rounded(2.07485717, None)
    ('2.07486', '')
    """
    if error is None or not _usable(value, error):
        return number(value), "" if error is None else number(abs(error))
    if _dwarfed(value, error):
        return number(value, DWARFED_DIGITS), number(abs(error), ERROR_DIGITS)
    grid = _grid(value, error)
    small = grid.text(abs(error)) + grid.exponent
    if _apart(grid):
        cut = _cut(abs(error), _last_digit(error))
        small = f"{_shifted(cut, -cut.adjusted())}e{cut.adjusted()}"
    return grid.text(value) + grid.exponent, small


def plus_minus(value: float, error: float | None) -> str:
    """Write ``value ± error``, with a shared power of ten where the numbers are far from 1.

    >>> plus_minus(2.07485717, 0.5149)
    '2.07 ± 0.51'
    >>> plus_minus(2.0748e-12, 2.31e-14)
    '(2.075 ± 0.023)e-12'
    """
    if error is not None and _usable(value, error) and not _dwarfed(value, error):
        grid = _grid(value, error)
        if not _apart(grid):
            return grid.pair("±", value, abs(error))
    return " ± ".join(part for part in rounded(value, error) if part)


def interval(low: float, high: float, value: float, error: float | None) -> str:
    """Write the interval of an estimate, cut at the same decimal as the estimate itself.

    >>> interval(1.06, 3.0896, 2.07485717, 0.5149)
    '1.06 … 3.09'
    >>> interval(1.9e-12, 2.2e-12, 2.0748e-12, 2.31e-14)
    '(1.900 … 2.200)e-12'
    """
    if error is None or not _usable(value, error):
        return f"{number(low)} … {number(high)}"
    if _dwarfed(value, error):
        return f"{number(low, DWARFED_DIGITS)} … {number(high, DWARFED_DIGITS)}"
    return _grid(value, error).pair("…", low, high)


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
    """Whether the error would round the value away."""
    return value != 0 and abs(error) > DWARFED * abs(value)


def _grid(value: float, error: float) -> _Grid:
    """Choose the last digit from the error, and the shared exponent from the larger number."""
    last = _last_digit(error)
    if value:
        last = max(last, _cut(value, last).adjusted() - FLOAT_DIGITS + 1)
    lead = max(_cut(x, last).adjusted() for x in (value, error))
    return _Grid(last, 0 if lead in PLAIN else lead)


def _apart(grid: _Grid) -> bool:
    """Whether the error would be mostly zeros, so that it takes an exponent of its own."""
    return grid.shared - grid.last - ERROR_DIGITS >= LEADING_ZEROS


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
