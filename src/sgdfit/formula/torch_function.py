"""A function of torch's that is called: its arguments as float64 tensors, its slopes by torch.func.

torch is imported only after the user has imported it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[list[Any]], Any]  # of the values of all arguments


def is_loaded() -> bool:
    """Whether the user has imported torch; without it no function is torch's."""
    return "torch" in sys.modules


def is_tensor(value: object) -> bool:
    """Tell a tensor of torch's from anything else, without importing torch."""
    return is_loaded() and isinstance(value, sys.modules["torch"].Tensor)


def device_fault(device: object) -> str:
    """Say why nothing can run on a device, of this or of any computer; empty if it can."""
    import torch

    try:
        kind = torch.device(device)
    except (RuntimeError, TypeError):
        return "write 'cpu', 'cuda' or 'cuda:1', the second GPU"
    if kind.type not in ("cpu", "cuda"):
        return f"{kind.type} lacks float64 or is not tested; write 'cpu' or 'cuda'"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind.type == "cuda" and (kind.index or 0) >= count:
        known = f"only {count}" if count else "no GPU"
        return f"torch {torch.__version__} finds {known} here; leave out device"
    return ""


def as_tensors(values: Sequence[Any]) -> list[Any]:
    """Return numbers and columns as float64 tensors with memory of their own."""
    import torch

    return [torch.tensor(value, dtype=torch.float64) for value in values]


def as_array(tensor: Any) -> Array:
    """Return what a tensor holds as float64, whatever its type, device and gradient."""
    return np.asarray(tensor.detach().cpu().double().numpy())


@contextmanager
def double_precision() -> Iterator[None]:
    """Let tensors that the function itself makes, as by torch.zeros, be float64 as well."""
    import torch

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def jacobian(call: Call, values: Sequence[Any], which: Sequence[int], rows: int) -> Array:
    """Return the slopes float64[len(which), rows] to some arguments, each of them a number.

    All at once by `torch.func.jacfwd`, or one by one by `torch.func.jvp`, which also follows what
    vmap does not: branches on a parameter and assignments in place.

    Raises
    ------
    Exception
        Whatever the function, or torch, raises where it does not differentiate.
    """
    import torch

    tensors = as_tensors(values)
    theta = torch.stack([tensors[k] for k in which])

    def curve(theta: Any) -> Any:
        given = [t.clone() for t in tensors]
        for k, value in zip(which, theta.unbind(), strict=True):
            given[k] = value
        return call(given).reshape(rows)

    with double_precision(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of how it is made
        try:
            return as_array(torch.func.jacfwd(curve)(theta)).T
        except Exception:
            along = torch.eye(len(which), dtype=torch.float64)
            slopes = [torch.func.jvp(curve, (theta,), (unit,))[1] for unit in along]
            return np.stack([as_array(slope) for slope in slopes])
