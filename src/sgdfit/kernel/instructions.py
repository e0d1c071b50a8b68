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
Function = TypeVar("Function", bound=Callable[..., Any])


def inlined(function: Function) -> Function:
    """Compile a function into whatever calls it, every line in the order in which it stands.

    That is said outright, since a function that says nothing takes over what its first caller
    allows. Python never calls it, and without the means to it is compiled sooner.
    """
    strict = njit(
        error_model="numpy", nogil=True, fastmath=False, forceinline=True,
        no_cpython_wrapper=True, no_cfunc_wrapper=True,
    )  # fmt: skip
    return strict(function)  # type: ignore[no-any-return]


def fuses() -> bool:
    """Return whether this processor multiplies and adds in one step, rounding once."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma")) or "aarch64" in binding.get_default_triple()


def instruction(result: Any, kinds: tuple[Any, ...], write: Callable[..., Any]) -> Any:
    """Return what Numba compiles to the instruction that ``write`` gives for builder and values."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return write(builder, *arguments)

    one: dict[int, Any] = {
        1: lambda typing, x: (result(*kinds), code),
        2: lambda typing, x, y: (result(*kinds), code),
        3: lambda typing, x, y, z: (result(*kinds), code),
    }
    return intrinsic(one[len(kinds)])


def _floor(builder: Any, x: Any) -> Any:
    return builder.call(builder.module.declare_intrinsic("llvm.floor", [DOUBLE]), [x])


# The 64 bits of a float as an integer, and back.
bits = instruction(types.int64, (types.float64,), lambda builder, x: builder.bitcast(x, WORD))
from_bits = instruction(
    types.float64, (types.int64,), lambda builder, n: builder.bitcast(n, DOUBLE)
)
# The largest whole number that is not above x, as a float.
floor = instruction(types.float64, (types.float64,), _floor)
# x·y + z, rounded once.
fma = instruction(
    types.float64, (types.float64,) * 3, lambda builder, x, y, z: builder.fma(x, y, z)
)


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
    """Start loading ``array[index]``, which may lie outside the array, into the second cache."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), cgutils.voidptr_t)
        # Read, not write; for use in some microseconds; data, not code.
        how = [context.get_constant(types.int32, value) for value in (0, 2, 1)]
        takes = ir.FunctionType(ir.VoidType(), [place.type, *(value.type for value in how)])
        call = builder.module.declare_intrinsic("llvm.prefetch", [place.type], takes)
        builder.call(call, [place, *how])
        return context.get_dummy_value()

    return types.void(array, index), write
