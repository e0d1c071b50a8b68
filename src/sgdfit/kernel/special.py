"""Special functions in compiled code: SciPy's by their addresses, ours compiled.

Kernels kept on disk hold the names of SciPy's functions, which are given their addresses in each
process that imports this module, as a kernel that uses them does: an address of another process
would be no function.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import get_cython_function_address, overload
from scipy.special import cython_special

from sgdfit.formula import special
from sgdfit.kernel.instructions import DOUBLE, Float, inlined, instruction

MODULE = "scipy.special.cython_special"


def _scipy(name: str, count: int) -> Any:
    """Return SciPy's function of so many numbers as what Numba compiles to a call of it."""
    known = cython_special.__pyx_capi__
    takes = f'"double ({"double, " * count}int '
    spelled = (n for n in (name, f"__pyx_fuse_0{name}", f"__pyx_fuse_1{name}") if n in known)
    label = f"sgdfit_{name}"
    found = next(n for n in spelled if takes in repr(known[n]))
    binding.add_symbol(label, get_cython_function_address(MODULE, found))

    def write(builder: Any, *values: Any) -> Any:
        # SciPy's last argument says whether Python may have replaced the function: no.
        kind = ir.FunctionType(DOUBLE, [DOUBLE] * count + [ir.IntType(32)])
        call = builder.module.globals.get(label) or ir.Function(builder.module, kind, label)
        return builder.call(call, [*values, ir.IntType(32)(0)])

    return instruction(types.float64, (types.float64,) * count, write)


overload(special.choose)(
    lambda condition, yes, no: lambda condition, yes, no: yes if condition else no
)

gamma, lgamma, digamma = _scipy("gamma", 1), _scipy("gammaln", 1), _scipy("psi", 1)
erfcx, erfinv = _scipy("erfcx", 1), _scipy("erfinv", 1)
j0, j1, y0, y1 = (_scipy(name, 1) for name in ("j0", "j1", "y0", "y1"))
i0, i1, k0, k1 = (_scipy(name, 1) for name in ("i0", "i1", "k0", "k1"))
jv, iv = _scipy("jv", 2), _scipy("iv", 2)
_beta, _profile = _scipy("beta", 2), _scipy("voigt_profile", 3)

sinc, sinc_slope = inlined(special.sinc), inlined(special.sinc_slope)
_series, _faddeeva = inlined(special._series), inlined(special.faddeeva)
overload(special._series)(lambda x, coefficients: lambda x, coefficients: _series(x, coefficients))
overload(special.faddeeva)(lambda z: lambda z: _faddeeva(z))
trigamma, voigt_slope = inlined(special.trigamma), inlined(special.voigt_slope)
erfcx_slope, _beta_of = inlined(special.erfcx_slope), inlined(special.beta_of)


@inlined
def beta(a: Float, b: Float) -> Float:
    """Return the beta function."""
    return _beta_of(a, b, _beta(a, b), gamma(min(a, b)))


@inlined
def voigt(x: Float, sigma: Float, gamma: Float) -> Float:
    """Return Voigt's profile."""
    return _profile(x, abs(sigma), gamma)
