"""A function that cannot be traced and so is called: a symbol in formulas, numbers from calls.

``f(x, a, b)`` is the application of a SymPy function whose derivatives are applications of others,
so that everything that follows from a formula follows from it as well. Values come from calls of f
on whole columns; slopes from the user's Jacobian, by complex step (Squire & Trapp 1998, SIAM Rev.
40, 110-112; Martins, Sturdza & Alonso 2003, ACM TOMS 29, 245-262) or by torch where differences
confirm it, or by central differences, whose step balances truncation against rounding as both are
seen in a ladder of steps (Ridders 1982, Adv. Eng. Software 4, 75-76).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import sympy

from sgdfit.errors import FormulaError, enumerated, reason_of
from sgdfit.formula.torch_function import (
    ModuleFunction,
    as_array,
    as_tensors,
    double_precision,
    for_rows,
    is_loaded,
    is_tensor,
    jacobian,
)

Expr = Any  # SymPy ships no types
Array = np.ndarray[Any, Any]

# Of the argument: its steps of differences from the longest to the shortest, and that of a complex
# one, of which no digit is lost however short it is.
LADDER = tuple(0.1 / 6.0**k for k in range(10))
COMPLEX_STEP = 1e-30
# What is said of a function of which the value of a row depends on those beside it.
ON_ALL_ROWS = " on all rows, on whose others each depends"
# Rows that these are chosen by.
SHOWN = 24
# A usual step, where none could be chosen: the cube root of rounding.
USUAL_STEP = 6e-6
# A complex step, or a given Jacobian, agrees with differences to this share, or to so many of
# their own errors.
AGREES, ERRORS = 1e-5, 10.0
# What may be wrong with types of numbers that a function returns.
_WHOLE = "whole numbers, which have no slope; leave out what rounds them"
_SHORT = "of few digits; compute in float64 (in torch x.double(), in jax by jax_enable_x64)"
ROUGH = {"int": _WHOLE, "uint": _WHOLE, "float16": _SHORT, "float32": _SHORT, "bfloat16": _SHORT}
# A change of less than this share of the values may be rounding.
NOTHING = 1e-9
# Values of fewer rows that differ by more than this share of their range are of another curve;
# less may be the error of a solver.
ACROSS = 1e-3


class Call(sympy.Function):  # type: ignore[misc]
    """The value of an `External` at its arguments, or its derivative of some ``order``."""

    external: External
    order: tuple[int, ...] = ()  # the arguments to which it is differentiated, from 0

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> None:
        """Stay as it is: SymPy would look for a function of mpmath that has the same name."""

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the derivative to an argument, counted from 1."""
        order = tuple(sorted((*self.order, argindex - 1)))
        return self.external.symbol(order)(*self.args)

    @property
    def values(self) -> Callable[..., Array]:
        """What returns numbers, of arrays and numbers that broadcast, in each row."""
        return partial(self.external.values, self.order)

    @property
    def subscripts(self) -> str:
        """The arguments to which it is differentiated."""
        return ",".join(self.external.names[k] for k in self.order)

    @property
    def key(self) -> str:
        """Its name in generated source."""
        return "_".join(["called", *map(str, self.order)])


def calls_in(*expressions: Expr) -> dict[str, Callable[..., Array]]:
    """Return what the calls in ``expressions`` call, by their names in generated source."""
    return {call.key: call.values for each in expressions for call in each.atoms(Call)}


@lru_cache(maxsize=256)
def external_in(expression: Expr) -> External | None:
    """Return the function that an expression calls, if it does."""
    return next((call.external for call in expression.atoms(Call)), None)


class External:
    """A function of the user's, and how it is called.

    It is called from one thread alone, since few functions expect several.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        named: Sequence[str],
        reason: str,
        jacobian: Callable[..., Any] | None = None,
    ) -> None:
        # What each argument is: a value, or a symbol where it is a column or a parameter.
        self.function, self.arguments = function, dict(arguments)
        self.named = tuple(named)  # the arguments that are given by keyword
        self.reason, self.jacobian = reason, jacobian
        self.why = reason.splitlines()[0].partition(";")[0]  # without advice
        name = getattr(function, "__name__", type(function).__name__)
        self.label = name if name.isidentifier() else "f"
        self.names = tuple(n for n, v in arguments.items() if isinstance(v, sympy.Symbol))
        self.columns: tuple[int, ...] = ()  # which of the names are columns
        self.by_rows: bool | None = None  # whether it takes rows one by one; None: not known yet
        # Whether it takes tensors, and one by one through torch.vmap; None: not known yet.
        self.in_torch: bool | None = True if isinstance(function, ModuleFunction) else None
        self.by_vmap: bool | None = None
        self.device = "cpu"  # where tensors are
        self.no_torch = ""  # why its slopes are not torch's
        self.across = False  # whether the value of a row depends on the rows beside it
        self.analytic: dict[int, bool] = {}  # whether a complex step, or torch, serves, by argument
        # Relative steps by argument and its decade, the errors of slopes with them, as shares of
        # these, and the decade of each argument that was asked for last.
        self.steps: dict[tuple[int, int], float] = {}
        self.errors: dict[tuple[int, int], float] = {}
        self.decades: dict[int, int] = {}
        self.reference: list[Any] | None = None  # arguments at which they are chosen
        self.doubts: tuple[str, ...] = ()  # what to warn of
        self.kind = ""  # of the numbers that it returned last
        self.failure: FormulaError | None = None  # of the last call that raised
        self._symbols: dict[tuple[int, ...], type[Call]] = {}
        self._given: tuple[list[Any], Array] | None = None  # the last Jacobian, and where

    def symbol(self, order: tuple[int, ...] = ()) -> type[Call]:
        """Return the SymPy function that stands for this one, or for a derivative of it."""
        if order not in self._symbols:
            space = {"external": self, "order": order, "nargs": len(self.names)}
            # SymPy goes by names of classes, among which a user's may be known.
            self._symbols[order] = type("_".join(["Call", *map(str, order)]), (Call,), space)
        return self._symbols[order]

    def with_columns(self, columns: Sequence[int]) -> External:
        """Return the same function, of which nothing is known yet; these names are columns."""
        own = External(self.function, self.arguments, self.named, self.reason, self.jacobian)
        own.columns = tuple(columns)
        if isinstance(self.function, ModuleFunction):
            self.function.check_columns([self.names[k] for k in columns])
        return own

    @property
    def _parameters(self) -> list[int]:
        """Which of the names are no columns."""
        return [k for k in range(len(self.names)) if k not in self.columns]

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that are neither columns nor parameters."""
        return {n: v for n, v in self.arguments.items() if n not in self.names}

    @property
    def qualified_name(self) -> str:
        """Where the function is found, as ``module.name``."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return f"{named.__module__}.{named.__qualname__}"

    @property
    def error(self) -> float:
        """Of the slopes by differences last computed, the largest, as a share of them."""
        used = [key for key in self.decades.items() if not self.analytic.get(key[0])]
        return max((self.errors.get(key, 0.0) for key in used), default=0.0)

    @property
    def description(self) -> str:
        """How it is called, why, and where its slopes come from."""
        words = "called row by row" if self.by_rows else "called"
        words += " with tensors" if self.in_torch else ""
        words += " by torch.vmap" if self.by_rows and self.by_vmap else ""
        words += f" on {self.device}" if self.in_torch and self.device != "cpu" else ""
        words += ON_ALL_ROWS if self.across else ""
        return f"{words}, since {self.why}; slopes {self.slopes}"

    @property
    def slopes(self) -> str:
        """Where its slopes to the parameters come from."""
        rest = [self.names[k] for k in self._parameters if not self.analytic.get(k)]
        exactly = "by torch.func" if self.in_torch else "by complex step"
        ways = [exactly] if len(rest) < len(self._parameters) else []
        if self.jacobian is not None:
            ways, rest = ["from the given jacobian"], []
        if rest:
            to = f" ({enumerated(rest)})" if ways else ""
            ways += [f"by central differences{to}, to {max(self.error, 1e-16):.0e} of their size"]
            ways[-1] += f", since {self.no_torch}" if self.no_torch else ""
        return enumerated(ways)

    def examine(self, values: Sequence[Any], *, is_start: bool, in_pieces: bool) -> None:
        """Call the function on some rows; where it will be ``in_pieces``, none may need the others.

        Raises
        ------
        FormulaError
            Also where the function raises, if this ``is_start``.
        """
        self.failure = None
        found = self._called(list(values))
        if self.failure is not None and is_start:
            raise self.failure
        if self.failure is not None:
            return
        for kind, trouble in ROUGH.items():
            if self.kind.startswith(kind):
                told = f"the function {self.label!r} returns {self.kind}, {trouble}"
                self.doubts = (*self.doubts, told)
        if not np.array_equal(self._called(list(values)), found, equal_nan=True):
            raise FormulaError(
                f"the function {self.label!r} gives other values for the same arguments; let it"
                " draw no random numbers, or the same each time"
            )
        some = [v[1::2] if np.ndim(v) else v for v in values]
        known = found[np.isfinite(found)]
        if _rows(values) < 2 or self.by_rows or not known.size:
            return
        apart = np.nan_to_num(np.abs(self._called(some) - found[1::2]))
        self.across = bool((apart > ACROSS * (np.ptp(known) or np.abs(known).max())).any())
        if self.across and in_pieces:
            raise FormulaError(
                f"the function {self.label!r} gives row {2 + 2 * int(apart.argmax())} another value"
                " where rows beside it are left out, but rows are fitted in batches and pieces; let"
                " what one row gives depend on this row alone (begin an integration at a fixed"
                " time, not at t[0]; leave out sums and means over rows)"
            )

    def values(self, order: tuple[int, ...], *arguments: Any) -> Array:
        """Return the value in each row; for each point, where parameters are arrays (k, 1)."""
        compute = partial(self._derivative, order) if order else self._called
        given = [np.asarray(a) for a in arguments]
        shape = np.broadcast_shapes(*(a.shape for a in given))
        if 0 in shape:
            return np.empty(shape)
        rows = shape[-1] if shape else 1
        if any(given[k].ndim and given[k].shape[-1] > 1 for k in self._parameters):
            rows = 1  # parameters differ from row to row
        tables = [np.broadcast_to(a, shape or (1,)).reshape(-1, rows) for a in given]
        found = np.empty(tables[0].shape, np.result_type(*given, np.float32))
        for i in range(len(found)):
            found[i] = compute(
                [
                    np.array(t[i], np.float64) if k in self.columns else np.float64(t[i, 0])
                    for k, t in enumerate(tables)
                ]
            )
        return found.reshape(shape)

    def _called(self, values: list[Any]) -> Array:
        """Call the function on real arguments; where it raises, there is no value."""
        failure = None
        either = (False, True) if self.by_rows is None else (self.by_rows,)
        kinds = (False, True) if self.in_torch is None and is_loaded() else (bool(self.in_torch),)
        for by_rows, in_torch in product(either, kinds):
            try:
                found = self._result(values, by_rows, in_torch)
            except FormulaError as error:
                # What it returned is no value for each row: rows one by one may be another curve.
                failure = error
                break
            except Exception as error:
                # An array where a tensor is needed, or a tensor for an array, says nothing.
                if failure is None or isinstance(failure.__cause__, TypeError | AttributeError):
                    failure = self._raised(error, self.label, values)
                continue
            self.by_rows = by_rows if _rows(values) > 1 else self.by_rows
            self.in_torch = in_torch
            if found.dtype.kind == "c":
                real = found.imag == 0
                if not real.any():
                    failure = FormulaError(
                        f"the function {self.label!r} returned complex numbers such as"
                        f" {found[0]:.6g}; return real ones, as .real or abs(…) of them"
                    )
                    break
                found = np.where(real, found.real, np.nan)
            return found
        self.failure = failure
        return np.full(_rows(values), np.nan)

    def _raised(self, cause: Exception, label: str, values: list[Any]) -> FormulaError:
        """Return what to say of a call that raised."""
        given = zip(self.names, values, strict=True)
        at = ", ".join(f"{n} = {v:.6g}" for n, v in given if not isinstance(v, np.ndarray))
        failure = FormulaError(
            f"the function {label!r} raised {type(cause).__name__}: {cause} (at {at}); mend it, or"
            " give starts and bounds that keep away from there"
        )
        failure.__cause__ = cause
        return failure

    def _result(self, values: list[Any], by_rows: bool | None, in_torch: bool | None) -> Array:
        """Return what the function returns, checked; by_rows in a loop over rows."""
        if by_rows and in_torch and self.by_vmap is not False:
            try:
                found = self._in_torch(for_rows(self._call), values)
            except Exception:
                self.by_vmap = bool(self.by_vmap)
            else:
                self.by_vmap = True
                return found
        if by_rows:
            return np.concatenate([self._result(r, False, in_torch) for r in _each_row(values)])
        if in_torch:
            return self._in_torch(self._call, values)
        # Copies, lest the function change the columns themselves.
        copies = [v.copy() if isinstance(v, np.ndarray) else v for v in values]
        found = self._passed(self.function, copies)
        if is_tensor(found) and self.in_torch is None:
            raise TypeError("a function that returns a tensor takes tensors")
        return self._checked(found, _rows(values))

    def _call(self, values: list[Any]) -> Any:
        return self._passed(self.function, values)

    def _in_torch(self, call: Callable[[list[Any]], Any], values: list[Any]) -> Array:
        with double_precision(self.device):
            found = call(as_tensors(values, self.device))
        return self._checked(found, _rows(values))

    def _passed(self, function: Any, values: list[Any]) -> Any:
        """Return what a function makes of these values of its arguments, and of its settings."""
        given = self.arguments | dict(zip(self.names, values, strict=True))
        keywords = {name: given.pop(name) for name in self.named}
        with np.errstate(all="ignore"):
            return function(*given.values(), **keywords)

    def _checked(self, found: Any, rows: int) -> Array:
        """Return what the function returned as one number for each row, real or complex."""
        array, self.kind = None, str(getattr(found, "dtype", "")).removeprefix("torch.")
        found = as_array(found) if is_tensor(found) else found
        with suppress(TypeError, ValueError):
            # A copy, lest the function write its next values there.
            given = np.array(np.ma.filled(found, np.nan) if np.ma.isMA(found) else found)
            array = given if given.dtype.kind in "fc" else given.astype(np.float64)
        if found is None or array is None:  # NumPy would take None for NaN
            raise FormulaError(
                f"the function {self.label!r} returned {type(found).__name__}, not one number for"
                " each row; end it with 'return' and an array"
            )
        if array.size != rows or max(array.shape, default=1) != rows:
            raise FormulaError(
                f"the function {self.label!r} returned the shape {array.shape} for {rows} rows; it"
                f" must return one number for each row, shape ({rows},)"
            )
        return array.reshape(rows)

    def _derivative(self, order: tuple[int, ...], values: list[Any]) -> Array:
        """Return the slope of the function, or of a lower derivative, to the last of ``order``."""
        *lower, k = order
        if lower:
            step = USUAL_STEP**0.75 * (abs(values[k]) or 1.0)
            ends = ([v + h if i == k else v for i, v in enumerate(values)] for h in (-step, step))
            low, high = (self._derivative(tuple(lower), end) for end in ends)
            return np.asarray((high - low) / (2 * step))
        if self.jacobian is not None:
            return self._column(k, values, self._whole_jacobian)
        if k not in self.analytic:
            self._verify(k, values)
        exact = self._exact(k, values) if self.analytic.get(k) else None
        if exact is not None and (self.in_torch or exact.any()):
            return exact
        # Imaginary parts may be dropped on another branch than that which was seen.
        slope, far = self._difference(k, values), _norm(self._called(values))
        if exact is not None and not _norm(slope) * (abs(values[k]) or 1.0) > NOTHING * far:
            return exact
        self.analytic[k] = False
        return slope

    def _verify(self, k: int, values: list[Any]) -> None:
        """See whether an exact slope serves: not where the slope to an argument is 0 all over."""
        for at in (self.reference, values):
            if at is None:
                continue
            exact = self._exact(k, at)
            usual = self._quotient(k, USUAL_STEP * (abs(at[k]) or 1.0), at)
            if exact is not None and _norm(usual) > 0 and self._agree(exact, usual):
                self.reference, self.analytic[k] = at, True
                return
            slope = self._difference(k, at)
            if _norm(slope) > 0:
                self.reference = at
                self.analytic[k] = exact is not None and self._agree(exact, slope)
                if self.in_torch and exact is not None and not self.analytic[k]:
                    self.no_torch = "those of torch.func do not agree with them"
                return
        self.analytic[k] = False

    def _some(self, values: list[Any]) -> list[Any]:
        """Return a few rows from all over, by which ways to slopes are chosen."""
        rows = _rows(values)
        some = np.unique(np.linspace(0, rows - 1, rows if self.across else SHOWN).astype(int))
        return [v[some] if isinstance(v, np.ndarray) else v for v in values]

    def _agree(self, slope: Array, difference: Array) -> bool:
        """Whether a slope is that of differences but for their error."""
        apart = _norm(np.nan_to_num(slope - difference))
        return apart <= max(AGREES, ERRORS * self.error) * _norm(np.nan_to_num(difference))

    def _exact(self, k: int, values: list[Any]) -> Array | None:
        """Return the slope by torch or a complex step; None where the function takes neither."""
        if self.in_torch:
            try:
                return self._column(k, values, self._by_torch)
            except Exception as error:
                self.no_torch = f"torch.func raised {type(error).__name__}: {reason_of(error)}"
                return None
        moved = [v + 1j * COMPLEX_STEP if i == k else v for i, v in enumerate(values)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that imaginary parts are cast away
                found = self._result(moved, self.by_rows, False)
        except Exception:
            return None
        return found.imag / COMPLEX_STEP if found.dtype.kind == "c" else None

    def _by_torch(self, values: list[Any]) -> Array:
        """Return the slopes float64[p, n] to all parameters by torch.func."""
        by_vmap = bool(self.by_rows and self.by_vmap)
        call, which = for_rows(self._call) if by_vmap else self._call, self._parameters
        each = _each_row(values) if self.by_rows and not by_vmap else [values]
        slopes = [jacobian(call, row, which, _rows(row), self.device) for row in each]
        return np.concatenate(slopes, axis=1)

    def _difference(self, k: int, values: list[Any]) -> Array:
        """Return the slope by central differences."""
        size = abs(values[k]) or 1.0
        self.decades[k] = int(np.floor(np.log10(size)))
        key = k, self.decades[k]
        if key not in self.steps:
            self._choose_step(key, values)
        return self._quotient(k, self.steps[key] * size, values)

    def _choose_step(self, key: tuple[int, int], values: list[Any]) -> None:
        """Choose the step for a decade of an argument, at the same rows whatever is asked first."""
        k, decade = key
        points = [self._some(values)]
        if self.reference is not None:
            there = np.copysign(10.0 ** (decade + 0.5), values[k])
            known = enumerate(self._some(self.reference))
            points.insert(0, [there if i == k else v for i, v in known])
        for at in points:
            ladder = [self._quotient(k, step * (abs(at[k]) or 1.0), at) for step in LADDER]
            # From the step before and to the next, since two in a row may agree by chance.
            changes = [_norm(b - a) for a, b in pairwise(ladder)]
            lengths = np.array([_norm(slope) or np.nan for slope in ladder[1:-1]])
            errors = np.fmax(changes[:-1], changes[1:]) / lengths
            if np.isfinite(errors).any():
                best = int(np.nanargmin(errors))
                self.steps[key], self.errors[key] = LADDER[1 + best], float(errors[best])
                return
        self.steps[key] = USUAL_STEP

    def _quotient(self, k: int, step: float, values: list[Any]) -> Array:
        """Return the central difference; beside a row without value the one on its other side."""
        before, after = values[k] - step, values[k] + step
        low, high = (self._called([*values[:k], v, *values[k + 1 :]]) for v in (before, after))
        slope = np.asarray((high - low) / (after - before))
        if np.isfinite(slope).all():
            return slope
        here = self._called(values)
        ahead, behind = (high - here) / (after - values[k]), (here - low) / (values[k] - before)
        slope = np.where(np.isfinite(slope), slope, ahead)
        return np.where(np.isfinite(slope), slope, behind)

    def _column(self, k: int, values: list[Any], compute: Callable[[list[Any]], Array]) -> Array:
        """Return a column of a Jacobian, of which the last one computed is kept."""
        if self._given is None or not all(map(_equal, self._given[0], values)):
            self._given = list(values), compute(values)
        return np.asarray(self._given[1][self._parameters.index(k)])

    def _whole_jacobian(self, values: list[Any]) -> Array:
        """Return the Jacobian float64[p, n] that the user's function gives, compared at first."""
        rows, p = _rows(values), len(self._parameters)
        try:
            found = np.asarray(self._passed(self.jacobian, values), dtype=np.float64)
        except Exception as cause:
            self.failure = self._raised(cause, "jacobian", values)
            return np.full((p, rows), np.nan)
        if found.shape not in ((rows, p), (p, rows)):
            raise FormulaError(
                f"the function 'jacobian' returned the shape {found.shape}; of {rows} rows and {p}"
                f" parameters it must be ({rows}, {p}), as for scipy's curve_fit, or ({p}, {rows})"
            )
        found = found.T if found.shape == (rows, p) else found
        if not self.analytic and np.isfinite(self._called(values)).all():
            for k, slope in zip(self._parameters, found, strict=True):
                self.analytic[k] = self._agree(slope, self._difference(k, values))
            names = [self.names[k] for k, agrees in self.analytic.items() if not agrees]
            if names:
                self.doubts = (
                    *self.doubts,
                    f"jacobian does not agree with differences of {self.label!r}: see its slopes"
                    f" to {enumerated(names)}; without it they are found by sgdfit",
                )
        return found


def _equal(one: Any, other: Any) -> bool:
    """Whether two numbers, or columns, are the same."""
    return bool(one == other if np.ndim(one) == 0 else np.array_equal(one, other))


def _rows(values: Sequence[Any]) -> int:
    return max((len(v) for v in values if isinstance(v, np.ndarray)), default=1)


def _each_row(values: list[Any]) -> list[list[Any]]:
    """Return the arguments of each row by itself."""
    return [[v[i] if np.ndim(v) else v for v in values] for i in range(_rows(values))]


def _norm(values: Array) -> float:
    """Return the length over the rows that have a value; NaN where none has."""
    known = values[np.isfinite(values)]
    return float(np.linalg.norm(known)) if known.size else np.nan
