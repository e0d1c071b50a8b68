"""A function of torch's that is called: its arguments as float64 tensors, its slopes by torch.func.

torch is imported only after the user has imported it.
"""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from sgdfit.errors import FormulaError

Array = np.ndarray[Any, Any]
Call = Callable[[list[Any]], Any]  # of the values of all arguments

# Of a module: 100 take 1 s to fit, 400 take 7, since each is a symbol and a column of slopes.
MOST_ENTRIES = 500


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


def is_module(value: object) -> bool:
    """Tell a module of torch's from anything else, without importing torch."""
    if not is_loaded():
        return False
    kind = sys.modules["torch"].nn.Module
    if isinstance(value, type) and issubclass(value, kind):
        name = value.__name__
        raise FormulaError(f"{name} is a class of modules; pass one of them, as in {name}()")
    return isinstance(value, kind)


class ModuleFunction:
    """A module as a function of the arguments of its forward and the entries of its parameters.

    These are named as in its state_dict, ``rate`` or ``weight[0,2]``. The module stays as it is.
    """

    reason = "it is a module of torch's"

    def __init__(self, module: Any) -> None:
        kind = type(module)
        self.module, self.__name__ = module, kind.__name__
        self.__module__, self.__qualname__ = kind.__module__, kind.__qualname__
        self.shapes, self.start, self.fixed = dict[str, Any](), dict[str, float](), set[str]()
        for name, parameter in module.named_parameters():
            self.shapes[name] = tuple(parameter.shape)
            real = parameter.real if parameter.is_complex() else parameter
            for index, value in np.ndenumerate(as_array(real)):
                entry = f"{name}[{','.join(map(str, index))}]" if index else name
                self.start[entry] = float(value)
                self.fixed |= set() if parameter.requires_grad else {entry}
        parameters = inspect.signature(module.forward).parameters.values()
        self.inputs = tuple(p.name for p in parameters if p.default is p.empty)
        self.by_columns: bool | None = None  # whether a column has the shape (n, 1)
        self._check(module, any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters))

    def _check(self, module: Any, unnamed: bool) -> None:
        import torch

        drawn = torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase
        modes = [type(m).__name__ for m in module.modules() if m.training and isinstance(m, drawn)]
        count, trouble = len(self.start), ""
        odd = [n for n, value in self.start.items() if not math.isfinite(value)]
        odd += [n for n, p in module.named_parameters() if not p.is_floating_point()]
        if modes:
            trouble = f"is in training mode, in which its {modes[0]} draws or mixes; call .eval()"
        elif unnamed or not self.inputs:
            trouble = "names no columns in its forward; write forward(self, x)"
        elif odd:
            trouble = f"has a parameter {odd[0]!r} that is no finite real number"
        elif not count:
            trouble = "has no parameters, so there is nothing to estimate"
        elif count - len(self.fixed) > MOST_ENTRIES:
            trouble = (
                f"has {count - len(self.fixed):,} free parameters, and a fit finds how each goes"
                f" with each other, of up to {MOST_ENTRIES}; freeze some (requires_grad_(False)),"
                " or train it with torch"
            )
        if trouble:
            raise FormulaError(f"the module {self.__name__} {trouble}")

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuse columns but those that forward takes."""
        wrong = [n for n in (*self.inputs, *self.start) if (n in self.inputs) != (n in columns)]
        for name in wrong:
            trouble = f"has a parameter {name!r}, and the data a column; rename one of them"
            if name in self.inputs:
                trouble = f"takes the column {name!r}, as its forward calls it, which the data lack"
            raise FormulaError(f"the module {self.__name__} {trouble}")

    def __call__(self, *given: Any) -> Any:
        """Return what the module gives, with parameters from ``given`` in place of its own."""
        import torch

        columns, rest = list(given[: len(self.inputs)]), given[len(self.inputs) :]
        device = columns[0].device if columns else "cpu"
        held = {n: b.to(device, copy=True) for n, b in self.module.named_buffers()}
        held = {n: b.double() if b.is_floating_point() else b for n, b in held.items()}
        for name, shape in self.shapes.items():
            count = math.prod(shape)
            if count:
                held[name], rest = torch.stack(rest[:count]).reshape(shape), rest[count:]

        def called(by_columns: bool) -> Any:
            # Copies, which it may change in place.
            shaped = [(c[:, None] if by_columns and c.ndim else c).clone() for c in columns]
            return torch.func.functional_call(self.module, held, tuple(shaped))

        for by_columns in (False, True) if self.by_columns is None else ():
            with suppress(Exception):
                if called(by_columns).numel() == columns[0].numel() > 1:
                    self.by_columns = by_columns
                    break
        return called(bool(self.by_columns))


def as_tensors(values: Sequence[Any], device: str = "cpu") -> list[Any]:
    """Return numbers and columns as float64 tensors with memory of their own."""
    import torch

    return [torch.tensor(value, dtype=torch.float64, device=device) for value in values]


def for_rows(call: Call) -> Call:
    """Return the call of all rows at once of what takes one row, by `torch.vmap`."""
    import torch

    def of_rows(values: list[Any]) -> Any:
        each = tuple(0 if value.ndim else None for value in values)
        return torch.vmap(lambda *row: call(list(row)).reshape(()), in_dims=each)(*values)

    return of_rows


def as_array(tensor: Any) -> Array:
    """Return what a tensor holds as float64, whatever its type, device and gradient."""
    return np.asarray(tensor.detach().cpu().double().numpy())


@contextmanager
def double_precision(device: str = "cpu") -> Iterator[None]:
    """Let tensors that the function itself makes, as by torch.zeros, be alike: float64, there."""
    import torch

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with ExitStack() as stack:
            if device != "cpu":
                stack.enter_context(torch.device(device))
            yield
    finally:
        torch.set_default_dtype(usual)


def jacobian(
    call: Call, values: Sequence[Any], which: Sequence[int], rows: int, device: str = "cpu"
) -> Array:
    """Return the slopes float64[len(which), rows] to some arguments, each of them a number.

    All at once by `torch.func.jacfwd`, or one by one by `torch.func.jvp`, which also follows what
    vmap does not: branches on a parameter and assignments in place.

    Raises
    ------
    Exception
        Whatever the function, or torch, raises where it does not differentiate.
    """
    import torch

    tensors = as_tensors(values, device)
    theta = torch.stack([tensors[k] for k in which])

    def curve(theta: Any) -> Any:
        given = [t.clone() for t in tensors]
        for k, value in zip(which, theta.unbind(), strict=True):
            given[k] = value
        return call(given).reshape(rows)

    with double_precision(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of how it is made
        try:
            return as_array(torch.func.jacfwd(curve)(theta)).T
        except Exception:
            along = torch.eye(len(which), dtype=torch.float64, device=device)
            slopes = [torch.func.jvp(curve, (theta,), (unit,))[1] for unit in along]
            return np.stack([as_array(slope) for slope in slopes])
