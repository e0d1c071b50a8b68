"""The forms of a kernel, NumPy's, compiled and torch's, and the choice of one."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.kernel.kernel import Kernel, KernelForm
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

FORMS = ("auto", "numpy", "compiled", "torch")

# Measured on this class of machine: a NumPy step costs about 40 µs and 20 ns a row, compiling
# about 1.5 s the first time and half a second from the disk. Past this estimate of NumPy's own
# time, compiling pays.
COMPILE_SECONDS = 1.5
NUMPY_STEP_SECONDS = 40e-6
NUMPY_ROW_SECONDS = 20e-9


def make(
    model: Model,
    optimizer: Optimizer | None,
    form: KernelForm,
    *,
    weighted: bool = False,
    device: str = "cpu",
) -> Kernel:
    """Return the kernel of ``model`` in ``form``, which takes steps where there is an optimizer.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdfit.kernel.kernel import Chunk
    >>> from sgdfit.model.model import build
    >>> kernel = make(build("y = a*x", ["x", "y"]), None, "numpy")
    >>> chunk = Chunk((np.array([1.0, 2.0]), np.array([2.0, 4.0])), None)
    >>> kernel.sums(np.array([1.0]), chunk)
    Sums(rows=2, weight=2.0, loss=5.0, gradient=array([-10.]), curvature=array([[10.]]))
    """
    if form == "numpy":
        from sgdfit.kernel.numpy_kernel import make_numpy

        kernel = make_numpy(model, optimizer)
    elif form == "torch":
        from sgdfit.kernel.torch_kernel import make_torch

        kernel = make_torch(model, optimizer, device)
    else:
        from sgdfit.kernel.compiled_kernel import make_compiled

        kernel = make_compiled(model, optimizer, weighted=weighted)
    return kernel._replace(model=model)


def choose_form(
    kernel: str, steps: int, batch_size: int, dtype: Any, device: Any = "cpu"
) -> KernelForm:
    """Return the form that finishes sooner, or the one that was asked for.

    Raises
    ------
    UsageError
        When ``kernel`` names none, asks for compiled steps in float32 or where Numba is off, or for
        torch, or a ``device``, that is not there.

    Examples
    --------
    >>> choose_form("auto", steps=1000, batch_size=20, dtype="float64")
    'numpy'
    >>> choose_form("auto", steps=10**7, batch_size=1, dtype="float64")
    'compiled'
    """
    if kernel not in FORMS:
        raise UsageError(f"kernel={kernel!r} is not one of {', '.join(map(repr, FORMS))}")
    if kernel == "torch" or device != "cpu":
        _check_device(kernel, device)
        return "torch"
    seconds = steps * (NUMPY_STEP_SECONDS + batch_size * NUMPY_ROW_SECONDS)
    if kernel == "numpy" or (kernel == "auto" and seconds <= COMPILE_SECONDS):
        return "numpy"
    single = np.dtype(dtype) == np.float32
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0")
    if kernel == "auto" and (single or disabled):
        return "numpy"
    if single:
        raise UsageError("the compiled kernel steps in float64; use kernel='numpy' for float32")
    if disabled:
        raise UsageError(
            "kernel='compiled' needs Numba to compile, which NUMBA_DISABLE_JIT forbids; unset that"
            " variable, or use kernel='numpy'"
        )
    return "compiled"


def _check_device(kernel: str, device: Any) -> None:
    asked = f"kernel={kernel!r}" if device == "cpu" else f"device={device!r}"
    if kernel not in ("auto", "torch"):
        raise UsageError(f"{asked} needs kernel='torch', not {kernel!r}; leave out kernel")
    if find_spec("torch") is None:
        raise UsageError(f"{asked} needs torch, which is not installed (pip install torch)")
    from sgdfit.formula.torch_function import device_fault

    fault = device_fault(device)
    if fault:
        raise UsageError(f"{asked}: {fault}")
