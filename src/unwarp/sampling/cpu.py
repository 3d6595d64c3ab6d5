"""Glue to the compiled kernels: tensors in, tensors out; no autograd."""

import math
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from unwarp.sampling.modes import MODES, PADDINGS

try:
    _kernels: Any = import_module("unwarp.sampling._kernels")
except ImportError:
    _kernels = None
    warnings.warn("unwarp was installed without its compiled kernels: sampling is correct, but slow", stacklevel=2)

COMPILED = _kernels is not None
# So many channels are read side by side where they lie so; the kernels' longest vector has as many.
_MANY = 16
# Fresh memory of so many bytes is asked for in large pages; NumPy draws the line here, too.
_LARGE = 2**22
# Below this many values a second thread costs more than it saves.
_FEW = 8192


def available() -> tuple[str, ...]:
    """The instruction sets that the compiled kernels can use here, the best first; none if they were not built."""
    return tuple(_kernels.available()) if COMPILED else ()


def choose(name: str) -> None:
    """Compute with another instruction set of those available, in this process. ValueError for any other name."""
    _kernels.choose(name)


def chosen() -> str | None:
    """The instruction set in use; None without compiled kernels."""
    return _kernels.chosen() if COMPILED else None


def computing_dtype(image: Tensor, coordinates: Tensor) -> torch.dtype:
    """What a kernel computes in: float64 where image or coordinates are, or offsets would not fit 32 bits."""
    span = sum((extent - 1) * stride for extent, stride in zip(image.shape[2:], image.stride()[2:], strict=True))
    span = max(span, math.prod(image.shape[2:]))  # its gradient has no pixels in common
    wide = image.dtype == torch.float64 or coordinates.dtype == torch.float64 or span >= 2**31 - 1
    return torch.float64 if wide else torch.float32


def layout(image: Tensor) -> torch.memory_format:
    """The memory format of what is read of an image, and of its gradient: channels last where the kernels know that."""
    fast = image.shape[1] >= _MANY and image.dtype in (torch.float32, torch.float64)
    for ndim, last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if fast and image.ndim == ndim and image.is_contiguous(memory_format=last) and not image.is_contiguous():
            return last
    return torch.contiguous_format


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """See `reference.read`."""
    shape = (coordinates.shape[0], image.shape[1], *size)
    out = _fresh(torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=layout(image)))
    if not out.numel():
        return out
    wide = computing_dtype(image, coordinates) == torch.float64
    how = (linear, MODES.index(mode), _codes(padding), _values(fill, image.shape[1]), wide, _threads(out))
    _kernels.forward(torch.to_dlpack(image.detach()), torch.to_dlpack(out), _points(coordinates, linear), *how)
    return out


def grad_image(
    grad_out: Tensor,
    coordinates: Tensor,
    like: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
) -> Tensor:
    """The transpose of `read` (without a fill) applied to `grad_out`; has the shape and dtype of `like`."""
    dtype = computing_dtype(like, coordinates)
    beside = layout(like)
    if not grad_out.numel() or not like.numel():
        return torch.zeros_like(like, memory_format=beside)
    result = _fresh(torch.empty_like(like, dtype=dtype, memory_format=beside))
    how = (linear, MODES.index(mode), _codes(padding), _threads(grad_out))
    gradient = _even(grad_out.detach().to(dtype), beside)
    _kernels.backward_image(torch.to_dlpack(gradient), torch.to_dlpack(result), _points(coordinates, linear), *how)
    return result.to(like.dtype)


def grad_coordinates(
    grad_out: Tensor,
    image: Tensor,
    coordinates: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """Gradient of `(read(...) * grad_out).sum()` with respect to the coordinates."""
    if mode == "nearest" or not grad_out.numel():
        return torch.zeros_like(coordinates, memory_format=torch.contiguous_format)
    dtype = computing_dtype(image, coordinates)
    result = _fresh(torch.empty_like(coordinates, memory_format=torch.contiguous_format))
    how = (linear, MODES.index(mode), _codes(padding), _values(fill, image.shape[1]), _threads(grad_out))
    gradient = _even(grad_out.detach().to(dtype), layout(image))
    arrays = (
        torch.to_dlpack(image.detach()),
        torch.to_dlpack(gradient),
        _points(coordinates, linear),
        torch.to_dlpack(result),
    )
    _kernels.backward_points(*arrays, *how)
    return result


def prefilter(pixels: Tensor, axis: int, around: int, diagonals: Tensor) -> None:
    """Solve a system of equations for every line of `pixels` along an axis, in place.

    Args:
        pixels: contiguous, float32 or float64.
        axis: an axis of theirs.
        around: before a line go so many pixels of its other end, and as many after it.
        diagonals: `[count + 2 around, 5]`, float64: of each row of the matrix the entries from two before its diagonal
            to two after it. The diagonal is larger than all others of its row, or of its column, together.
    """
    outer, inner = (math.prod(extents) for extents in (pixels.shape[:axis], pixels.shape[axis + 1 :]))
    lines = pixels.view(outer, pixels.shape[axis], inner)
    _kernels.prefilter(torch.to_dlpack(lines), around, torch.to_dlpack(diagonals), _threads(pixels))


def _fresh(result: Tensor) -> Tensor:
    """A tensor whose memory nobody has touched yet, and soon will."""
    if result.nbytes >= _LARGE:
        _kernels.use_large_pages(torch.to_dlpack(result))
    return result


def _points(coordinates: Tensor, linear: bool) -> Any:
    if coordinates.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"coordinates: wanted float32 or float64, got {coordinates.dtype}")
    coordinates = coordinates.detach()
    # A grid may be shared by all maps (stride 0), but its points lie side by side: whole ones, or all x before all y.
    first = coordinates[:1]
    if linear or first.is_contiguous() or (first.ndim == 3 and first.transpose(1, 2).is_contiguous()):
        return torch.to_dlpack(coordinates)
    return torch.to_dlpack(coordinates.contiguous())


def _even(gradient: Tensor, beside: torch.memory_format) -> Tensor:
    """`gradient [N, C, *size]` with all its samples at equal distances in memory, as the kernels go through them.

    What autograd hands on may be transposed, or expanded along some axes (the gradient of a sum). Beside an image with
    its channels last it has them last, too.
    """
    if beside != torch.contiguous_format:
        return gradient.contiguous(memory_format=beside)
    step = gradient.stride(-1)
    for extent, stride in zip(reversed(gradient.shape[2:]), reversed(gradient.stride()[2:]), strict=True):
        if stride != step:
            return gradient.clone(memory_format=torch.contiguous_format)
        step *= extent
    return gradient


def _codes(padding: Sequence[str]) -> list[int]:
    return [PADDINGS.index(word) for word in reversed(padding)]


def _values(fill: Tensor | None, channels: int) -> list[float]:
    return [] if fill is None else fill.detach().double().expand(channels).tolist()


def _threads(work: Tensor) -> int:
    return torch.get_num_threads() if work.numel() > _FEW else 1
