"""The form of the kernel that runs in torch, on a processor or a GPU.

Rows are moved anew for each pass: `auto` looks at each about twice, so that little would be gained
by keeping them there. Each thread has a stream of its own on a GPU, so that rows are copied, from
memory that is pinned, while others are computed. Sums over a panel are taken by halves (Higham
1993, SIAM J. Sci. Comput. 14, 783-799), an order that no device and no number of threads changes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sgdfit.errors import UsageError
from sgdfit.formula import real
from sgdfit.kernel.emission import Expressions, expressions_of
from sgdfit.kernel.kernel import Chunk, Kernel, Rows, Segment, State, SweepResult
from sgdfit.kernel.numpy_kernel import (
    batch_of,
    kernel_source,
    lines_of,
    load,
    make_numpy,
    run_segment,
    terms_of,
    with_limits,
)
from sgdfit.kernel.summation import PANEL, length, triangle
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

Tensor = Any  # torch is not always there to be checked against

# Numbers that a GPU adds up at once, 128 MB of them; a processor takes a panel, for its cache.
AT_ONCE = 1 << 24

# Where its values are those of SciPy. Its Bessel functions j0, j1, y0 and y1 keep 7 digits.
SPECIAL = SimpleNamespace(
    expit=torch.special.expit, xlogy=torch.special.xlogy,
    erf=torch.special.erf, erfc=torch.special.erfc,
    erfcx=torch.special.erfcx, erfinv=torch.special.erfinv,
    lgamma=torch.special.gammaln, digamma=torch.special.digamma, sinc=torch.special.sinc,
    i0=torch.special.i0, i1=torch.special.i1,
    k0=torch.special.modified_bessel_k0, k1=torch.special.modified_bessel_k1,
    cbrt=lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    sign=lambda x: torch.where(torch.isnan(x), x, torch.sign(x)),
)  # fmt: skip


def make_torch(model: Model, optimizer: Optimizer | None, device: str) -> Kernel:
    """Return the form of the kernel that runs on ``device``.

    Raises
    ------
    UsageError
        When torch lacks a function of the formula.
    """
    (source, terms), by_limits = _load_terms(expressions_of(model)), make_numpy(model, optimizer)
    by_rows, place, scaled = terms_of(model)[1], _Device(device), model.loss.is_relative
    on_gpu = place.device.type == "cuda"

    def moved(chunk: Chunk, dtype: Any = np.float64) -> list[Tensor]:
        """Return a chunk's columns, its weights or None, and the scale of its loss."""
        arrays = [*chunk.columns] if chunk.weights is None else [*chunk.columns, chunk.weights]
        scale = model.loss.scale_of(chunk.weights) if scaled else None
        arrays += [scale] if isinstance(scale, np.ndarray) else []
        tensors = place.moved(arrays, dtype)
        columns = tensors[: len(chunk.columns)]
        weights = None if chunk.weights is None else tensors[len(columns)]
        return [columns, weights, tensors[-1] if isinstance(scale, np.ndarray) else scale]

    def rows(theta: np.ndarray, chunk: Chunk) -> Rows:
        columns, _, scale = moved(chunk)
        (at,) = place.moved([np.asarray(theta)], np.float64)
        found = Rows(*(part.cpu().numpy() for part in terms(at, columns, scale)))
        return found if np.isfinite(found.jacobian).all() else by_limits.rows(theta, chunk)

    def panel_sums(theta: np.ndarray, chunk: Chunk, scores: bool = False) -> np.ndarray:
        out = np.zeros((-(-chunk.rows // PANEL), 2, length(len(theta))))
        some = max(1, AT_ONCE // PANEL // length(len(theta))) if on_gpu else 1
        with place.stream():
            (at,) = place.moved([theta], np.float64)
            for k in range(0, len(out), some):
                columns, weights, scale = moved(chunk.part(k * PANEL, (k + some) * PANEL))
                found = terms(at, columns, scale)
                out[k : k + some, 0] = _sums(found, weights, scores).cpu().numpy()
        return with_limits(out, by_limits, theta, chunk, scores)

    def sweep(state: State, chunk: Chunk, segment: Segment) -> SweepResult:
        assert optimizer is not None, "a kernel without an optimizer takes no steps"
        columns, weights, scale = place.kept(chunk, state.theta.dtype, moved)

        def batch(theta: np.ndarray, taken: Any) -> tuple[float, np.ndarray]:
            if isinstance(taken, np.ndarray):
                (index,) = place.moved([taken], taken.dtype)
            else:
                index = taken
            (at,) = place.moved([theta], theta.dtype)
            share = scale[index] if isinstance(scale, torch.Tensor) else scale
            _, _, loss, grad, _, jacobian = terms(at, [c[index] for c in columns], share)
            if weights is not None:
                loss, grad = loss * weights[index], grad * weights[index]
            found = _halved(torch.cat([loss[None], jacobian * grad])).cpu().numpy()
            if not np.isfinite(found).all():
                return batch_of(by_rows, theta, chunk, taken)
            mean = found / len(loss)
            return float(mean[0]), mean[1:].astype(theta.dtype, copy=False)

        return run_segment(batch, optimizer, state, segment)

    source = kernel_source(source, model.loss)
    return Kernel("torch", source, rows, panel_sums, sweep)


class _Device:
    """Where tensors are, and how they come there."""

    def __init__(self, name: str) -> None:
        self.device, self.own = torch.device(name), threading.local()
        self.last: tuple[Any, ...] = (None, None, None)

    def stream(self) -> AbstractContextManager[Any]:
        """Return the stream of this thread."""
        if self.device.type == "cpu":
            return nullcontext()
        if not hasattr(self.own, "stream"):
            self.own.stream = torch.cuda.Stream(self.device)
        return torch.cuda.stream(self.own.stream)  # type: ignore[no-any-return]

    def moved(self, arrays: Sequence[np.ndarray], dtype: Any) -> tuple[Tensor, ...]:
        """Return arrays of one shape as tensors of a type."""
        if not arrays:
            return ()
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        pinned = self.device.type == "cuda"
        held = torch.empty((len(arrays), *arrays[0].shape), dtype=kind, pin_memory=pinned)
        with np.errstate(over="ignore"):
            for place, array in zip(held.numpy(), arrays, strict=True):
                place[...] = array
        return held.to(self.device, non_blocking=True).unbind()  # type: ignore[no-any-return]

    def kept(self, chunk: Chunk, dtype: Any, move: Any) -> Any:
        """Return the chunk that the last steps went through without moving it again."""
        if self.last[0] is not chunk or self.last[1] != dtype:
            self.last = chunk, dtype, move(chunk, dtype)
        return self.last[2]


def _number(value: Any) -> Tensor:
    return torch.tensor(value, dtype=None if isinstance(value, bool) else torch.float64)


def _select(codes: Tensor, *values: Any) -> Tensor:
    """Return for each row that one of the values that its code names."""
    given = [torch.as_tensor(v, dtype=codes.dtype, device=codes.device) for v in values]
    table, index = torch.stack(torch.broadcast_tensors(*given)), codes.long()
    return table[index] if table.ndim == 1 else table.gather(0, index[None])[0]


@lru_cache(maxsize=128)
def _load_terms(given: Expressions) -> tuple[str, Any]:
    """Return the source of ``terms``, which computes what `Rows` holds, and the function itself."""

    def spread(value: Any, column: Tensor) -> Tensor:
        kind, place = column.dtype, column.device
        return torch.as_tensor(value, dtype=kind, device=place).expand(len(column))

    space = {"torch": torch, "number": _number, "spread": spread, "select": _select}
    space["special"] = SPECIAL
    lines = lines_of(given, "torch", "theta.new_empty({shape})")
    source, terms = load("theta, columns, scale", lines, space, given.values)
    needed = dict.fromkeys(re.findall(r"special\.(\w+)", source))
    lacking = [name for name in needed if not hasattr(SPECIAL, name)]
    if lacking:
        there = [name for name in vars(SPECIAL) if name in real.SPECIAL or name.startswith("erf")]
        raise UsageError(
            f"torch has no {', '.join(lacking)}, which the formula or its slopes need; the special"
            f" functions of kernel='torch' are {', '.join(there)}. Leave out kernel and device"
        )
    return source, terms


def _sums(found: Sequence[Tensor], weights: Tensor, scores: bool) -> Tensor:
    """Add up each panel of some rows, float64[panels, k]: see `Kernel.panel_sums`."""
    _, _, loss, grad, hess, jacobian = found
    if weights is not None:
        loss, grad, hess = weights * loss, weights * grad, weights * hess
    p, bent = len(jacobian), jacobian * (grad * grad if scores else hess)
    table = jacobian.new_empty((length(p), len(loss)))
    table[0], table[1] = 1.0 if weights is None else weights, loss
    torch.mul(jacobian, grad, out=table[2 : 2 + p])
    for place, (i, k) in enumerate(zip(*triangle(p), strict=True), 2 + p):
        torch.mul(bent[i], jacobian[k], out=table[place])
    end = table.shape[1] // PANEL * PANEL
    found = [_halved(table[:, :end].reshape(len(table), -1, PANEL)).T]
    found += [_halved(table[:, end:])[None]] if end < table.shape[1] else []
    return torch.cat(found)


def _halved(values: Tensor) -> Tensor:
    """Add up along the last axis, one half to the other until one is left."""
    while (count := values.shape[-1]) > 1:
        half = count // 2
        total = values[..., :half] + values[..., half : 2 * half]
        values = torch.cat([total, values[..., 2 * half :]], -1) if count % 2 else total
    return values[..., 0]
