"""Instructions that Numba has no word for, and that vector registers do as well as scalar ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Float = Any  # to Numba a float64

# Added to a number below 2⁵¹ it leaves the nearest integer in the last bits.
ROUND = 1.5 * 2.0**52
BIAS = 1023
SIGN = -(1 << 63)
DOUBLE = ir.DoubleType()
WORD = ir.IntType(64)
# Of LLVM's llvm.prefetch: read, not write; data, not code.
READ, DATA = 0, 1
# Keep in every cache; or in the second and those beyond, so that what is in use stays in the first.
INNERMOST, SECOND = 3, 2
STRICT = {"error_model": "numpy", "nogil": True, "fastmath": False, "forceinline": True}
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function into whatever calls it, every line in the order in which it stands.

    That is said outright, since a function that says nothing takes over what its first caller
    allows.
    """
    return njit(**STRICT)(function)  # type: ignore[no-any-return]


def inlined(function: Function) -> Function:
    """Compile a function as `compiled` does, which Python never calls: that is quicker to do."""
    strict = njit(**STRICT, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return strict(function)  # type: ignore[no-any-return]


def fuses() -> bool:
    """Return whether this processor multiplies and adds in one step, rounding once."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma")) or "aarch64" in binding.get_default_triple()


@intrinsic  # type: ignore[untyped-decorator]
def bits(typing: Any, x: Any) -> Any:
    """Return the 64 bits of a float as an integer."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], WORD)

    return types.int64(types.float64), write


@intrinsic  # type: ignore[untyped-decorator]
def from_bits(typing: Any, n: Any) -> Any:
    """Return the float that 64 bits stand for."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], DOUBLE)

    return types.float64(types.int64), write


@intrinsic  # type: ignore[untyped-decorator]
def floor(typing: Any, x: Any) -> Any:
    """Return the largest whole number that is not above x, as a float."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        call = builder.module.declare_intrinsic("llvm.floor", [DOUBLE])
        return builder.call(call, arguments)

    return types.float64(types.float64), write


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x·y + z, rounded once."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), write


@intrinsic  # type: ignore[untyped-decorator]
def polynomial(typing: Any, x: Any, coefficients: Any) -> Any:
    """Return the polynomial of x whose ``coefficients`` are a tuple, the highest power first."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at, given = arguments
        value = builder.extract_value(given, 0)
        for k in range(1, len(signature.args[1])):
            value = builder.fma(value, at, builder.extract_value(given, k))
        return value

    return types.float64(types.float64, coefficients), write


@intrinsic  # type: ignore[untyped-decorator]
def pairwise(typing: Any, x: Any, coefficients: Any) -> Any:
    """Return what `polynomial` does, sooner, for some more work.

    Neighbouring terms are joined, and these again (Estrin 1960, Western Joint Computer Conference,
    33), so that few operations wait for one another.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at, given = arguments
        count = len(signature.args[1])
        terms = [builder.extract_value(given, count - 1 - k) for k in range(count)]
        while len(terms) > 1:
            pairs = zip(terms[0::2], terms[1::2], strict=False)
            joined = [builder.fma(high, at, low) for low, high in pairs]
            terms = joined + terms[2 * len(joined) :]
            at = builder.fmul(at, at)
        return terms[0]

    return types.float64(types.float64, coefficients), write


@inlined
def power_of_two(marked: Float) -> Float:
    """Return 2ⁿ of a sum of `ROUND` and n, -1022 ≤ n ≤ 1023."""
    return from_bits((bits(marked) + BIAS) << 52)


@inlined
def with_sign(size: Float, x: Float) -> Float:
    """Return ``size``, which is not negative, with the sign of x."""
    return from_bits(bits(size) | (bits(x) & SIGN))


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Start loading ``array[index]`` into the cache; no fault where it lies outside the array."""
    return _loading(array, index, INNERMOST)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_early(typing: Any, array: Any, index: Any) -> Any:
    """Start loading ``array[index]`` into the second cache, for use in some microseconds."""
    return _loading(array, index, SECOND)


def _loading(array: Any, index: Any, level: int) -> Any:
    """Return the type and the code of a prefetch."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), cgutils.voidptr_t)
        how = [context.get_constant(types.int32, value) for value in (READ, level, DATA)]
        kinds = [place.type, *(value.type for value in how)]
        takes = cgutils.ir.FunctionType(cgutils.ir.VoidType(), kinds)
        call = builder.module.declare_intrinsic("llvm.prefetch", [place.type], takes)
        builder.call(call, [place, *how])
        return context.get_dummy_value()

    return types.void(array, index), write
