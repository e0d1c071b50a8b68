"""Instructions that Numba has no word for: ask the memory for a line before it is needed."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["prefetch", "prefetch_early"]

# Of LLVM's llvm.prefetch: read, not write; data, not code.
READ, DATA = 0, 1
# Keep in every cache; or in the second and those beyond, so that what is in use stays in the first.
INNERMOST, SECOND = 3, 2


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
