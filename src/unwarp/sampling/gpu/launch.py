"""Glue to the Triton kernels: tensors in, tensors out; no autograd, and no waiting for the device.

What to launch is planned from the layouts of the tensors, and kept.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from unwarp.sampling.gpu import coordinates as coordinates_kernels
from unwarp.sampling.gpu import image as image_kernels
from unwarp.sampling.gpu import reading
from unwarp.sampling.gpu.boxes import BOX_X, BOX_Y
from unwarp.sampling.gpu.locate import reciprocal
from unwarp.sampling.gpu.taps import padding_code
from unwarp.sampling.modes import MOST_TOLERANCE, taps_of

# Samples that a program of four warps takes at once: several per thread, which hides latency, or one where it reads so
# many pixels that registers run short, or where a large GPU would have too few programs (fewer than so many).
_BLOCKS = ((4, 512), (16, 256))
_SMALLEST_BLOCK = 128
_FEWEST_PROGRAMS = 1024
# More programs than this, which are some waves of them, go through several blocks each; so do those that add up the
# gradient of a matrix, beyond fewer. Programs for linear samples are of one warp, so that they can tell whether all of
# theirs are inside the picture; of these there may be twice as many.
_MOST_PROGRAMS, _MOST_WARPS = 8192, 16384
_MOST_SUMS, _MOST_SUMS_OF_WARPS = 2048, 4096
# Where there are so many maps, the so few blocks of each are added up by one program: others' sums would have to be
# added up by another kernel, and to launch that takes longer.
_MANY_MAPS, _FEW_BLOCKS = 128, 16
# Linear samples of volumes under affine maps are taken in boxes of as many slices as leave so many boxes, unless these
# would hold so many times as many samples as there are.
_DEPTHS, _FEWEST_BOXES, _MOST_OF_BOXES = (16, 8, 4), 1024, 1.3
_IN_BLOCKS = {"DEPTH": 0}
_BLOCK_OF_PIXELS = 256
# So many channels of a pixel are gathered at once; as many are many, of which so many are read at once where samples
# read few pixels.
_MOST_CHANNELS = 8
_UNROLL, _FEW_TAPS = 4, 4
# Both gradients are found by one kernel where samples read so few pixels; with more, registers run short.
_MOST_TOGETHER = 16
# With determinism, each pixel asks so many maps of its image at most which of their samples have read it.
_MOST_GATHERED = 64
# Launches are planned once for tensors of the same layout, for so many layouts.
_KEPT = 4096


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
    out = image.new_empty(coordinates.shape[0], image.shape[1], *size)
    if out.numel():
        how = linear, mode, tuple(padding)
        launch = _plan_read(_layout(image), _layout(coordinates), tuple(out.shape), *how, _layout(fill))
        launch(image, coordinates, image if fill is None else fill, out)
    return out


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
    return _grad_coordinates(grad_out, image, coordinates, linear, mode, padding, fill, None)


def gradients(
    grad_out: Tensor,
    image: Tensor,
    coordinates: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`grad_image(...)` and `grad_coordinates(...)`, by one kernel where that can be."""
    few = mode != "nearest" and taps_of(mode) ** (image.ndim - 2) <= _MOST_TOGETHER
    together = few and image.is_contiguous() and not torch.are_deterministic_algorithms_enabled()
    if not together or not grad_out.numel():
        of_image = grad_image(grad_out, coordinates, image, linear, mode, padding)
        return of_image, grad_coordinates(grad_out, image, coordinates, linear, mode, padding, fill)
    into = torch.zeros(image.shape, dtype=torch.promote_types(image.dtype, coordinates.dtype), device=image.device)
    of_coordinates = _grad_coordinates(grad_out, image, coordinates, linear, mode, padding, fill, into)
    return into.to(image.dtype), of_coordinates


def _grad_coordinates(
    grad_out: Tensor,
    image: Tensor,
    coordinates: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
    into: Tensor | None,
) -> Tensor:
    if mode == "nearest" or not grad_out.numel():
        return torch.zeros_like(coordinates, memory_format=torch.contiguous_format)
    gradient = grad_out.flatten(2)
    how = tuple(grad_out.shape), linear, mode, tuple(padding)
    layouts = _layout(image), _layout(gradient), _layout(coordinates)
    launch, programs = _plan_grad_coordinates(*layouts, *how, _layout(fill), into is not None)
    result = torch.empty_like(coordinates, memory_format=torch.contiguous_format)
    parts = result
    if linear and programs > 1:
        wide = torch.promote_types(image.dtype, coordinates.dtype)
        parts = torch.empty(result.shape[0], programs, *result.shape[1:], dtype=wide, device=result.device)
    background, target = image if fill is None else fill, image if into is None else into
    launch(image, gradient, coordinates, background, parts, target)
    return result if parts is result else parts.sum(1).to(result.dtype)


def grad_image(
    grad_out: Tensor,
    coordinates: Tensor,
    like: Tensor,
    linear: bool,
    mode: str,
    padding: Sequence[str],
) -> Tensor:
    """The transpose of `read` (without a fill) applied to `grad_out`; has the shape and dtype of `like`.

    The same bits on every run where `torch.use_deterministic_algorithms` asks for it.
    """
    if not grad_out.numel() or not like.numel():
        return torch.zeros_like(like, memory_format=torch.contiguous_format)
    gradient = grad_out.flatten(2)
    how = tuple(grad_out.shape), linear, mode, tuple(padding)
    layouts = _layout(like), _layout(gradient), _layout(coordinates)
    wide = torch.promote_types(like.dtype, coordinates.dtype)
    if not torch.are_deterministic_algorithms_enabled():
        result = torch.zeros(like.shape, dtype=wide, device=like.device)
        _plan_scatter(*layouts, *how)(gradient, coordinates, result, result, result)
        return result.to(like.dtype)

    limbs = 2 if wide == torch.float64 else 1
    fixed = _empty((limbs, *like.shape), like.device)
    limits = torch.zeros(like.shape[0], dtype=torch.int64 if limbs == 2 else torch.int32, device=like.device)
    scatters = torch.empty(like.shape[0], dtype=torch.int32, device=like.device)
    result = torch.empty_like(like, memory_format=torch.contiguous_format)
    prepare, scatter, finish = _plan_exactly(*layouts, *how)
    prepare(gradient, coordinates, fixed, limits, scatters)
    scatter(gradient, coordinates, fixed, limits, scatters)
    finish(gradient, coordinates, fixed, limits, scatters, result)
    return result


def _empty(shape: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers of 64 bits that torch does not fill: where pixels gather, they are not written to at all."""
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        return torch.empty(shape, dtype=torch.int64, device=device)
    finally:
        settings.fill_uninitialized_memory = fills


class _Layout(NamedTuple):
    """All that decides of a tensor how a kernel is launched on it."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def _layout(tensor: Tensor | None) -> Any:
    return None if tensor is None else _Layout(tensor.shape, tensor.stride(), tensor.dtype)


class _Launch:
    """A kernel to be launched on tensors of certain layouts, in so many programs.

    Triton finds out at each launch which compiled kernel fits the arguments, which takes longer than a small warp; here
    that depends on the device alone.
    """

    def __init__(self, kernel: Any, programs: int, numbers: Sequence[int], constants: Mapping[str, Any]) -> None:
        self.kernel, self.grid, self.numbers, self.constants = kernel, (programs, 1, 1), numbers, constants
        self.rest = *numbers, *(constants[name] for name in kernel.arg_names if name in constants)
        self.runners: dict[int | None, Any] = {}

    def __call__(self, *tensors: Tensor) -> None:
        """Launch it on the current device, and do not wait."""
        device = torch.cuda.current_device() if tensors[0].is_cuda else None
        if device in self.runners:
            self.runners[device](*tensors, *self.rest)
            return
        compiled = self.kernel[self.grid](*tensors, *self.numbers, **self.constants)
        if compiled is not None:  # interpreted, it is not
            self.runners[device] = compiled[self.grid]


@lru_cache(_KEPT)
def _plan_read(
    image: _Layout,
    coordinates: _Layout,
    out: tuple[int, ...],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: _Layout | None,
) -> _Launch:
    how = _how(image, coordinates, out, linear, mode, padding)
    cells = _in_cells(image, how)
    if cells:
        how |= {"num_warps": 1, "BLOCK": 64 if how["NDIM"] == 3 and out[1] == 1 else 128}
    how |= _in_boxes(how, out) if cells else _IN_BLOCKS
    programs, at_once = _shares(out, how, _MOST_WARPS if cells else _MOST_PROGRAMS)
    numbers = (*_strides(image), *_samples(image, coordinates, out, fill, how["DEPTH"]), programs, at_once)
    how |= {"FILLED": fill is not None, "INDEX": _index(image, coordinates, dense=[out])}
    how |= {"CELLS": cells, "DENSE": image.stride[-1] == 1, "SINGLE": out[1] == 1}
    return _Launch(reading.read, out[0] * programs * _pieces(out[1], at_once), numbers, how)


@lru_cache(_KEPT)
def _plan_grad_coordinates(
    image: _Layout,
    gradient: _Layout,
    coordinates: _Layout,
    out: tuple[int, ...],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: _Layout | None,
    scatters: bool,
) -> tuple[_Launch, int]:
    """With it, how many programs share a map: they leave as many parts of a matrix's gradient."""
    how = _how(image, coordinates, out, linear, mode, padding)
    samples = math.prod(out[2:])
    alone = linear and out[0] >= _MANY_MAPS and samples <= _FEW_BLOCKS * how["BLOCK"]
    cells = _in_cells(image, how) and not alone
    if cells:
        how |= {"num_warps": 1, "BLOCK": 64 if how["NDIM"] == 3 else 32}
    how |= _in_boxes(how, out) if cells else _IN_BLOCKS
    programs = _pieces_of(out, how)
    if linear:
        programs = 1 if alone else min(programs, _pieces(_MOST_SUMS_OF_WARPS if cells else _MOST_SUMS, out[0]))
    numbers = (*_strides(image), *gradient.stride, *_samples(image, coordinates, out, fill, how["DEPTH"]), programs)
    index = _index(image, gradient, coordinates, dense=[(out[0], how["NDIM"], *out[2:])])
    how |= {"FILLED": fill is not None, "SCATTERS": scatters, "INDEX": index}
    how |= {"CELLS": cells, "DENSE": image.stride[-1] == 1, "SINGLE": out[1] == 1}
    return _Launch(coordinates_kernels.grad_coordinates, out[0] * programs, numbers, how), programs


@lru_cache(_KEPT)
def _plan_scatter(
    like: _Layout,
    gradient: _Layout,
    coordinates: _Layout,
    out: tuple[int, ...],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    bits: int = 0,
    gathers: bool = False,
    limbs: int = 0,
) -> _Launch:
    """The samples add to floating-point numbers, or to whole ones in that many `limbs`."""
    how = _how(like, coordinates, out, linear, mode, padding)
    programs, at_once = _shares(out, how, _MOST_PROGRAMS)
    numbers = (
        *gradient.stride,
        *_strides_of_four(coordinates),
        *_spatial(like.shape),
        *_spatial(out),
        *_counts(like, out),
        gradient.shape[2],
        bits,
        *_over(out),
        programs,
        at_once,
    )
    how |= {"GATHERS": gathers, "LIMBS": limbs, "INDEX": _index(gradient, coordinates, dense=[like.shape, out])}
    return _Launch(image_kernels.scatter, out[0] * programs * _pieces(out[1], at_once), numbers, how)


@lru_cache(_KEPT)
def _plan_exactly(
    like: _Layout,
    gradient: _Layout,
    coordinates: _Layout,
    out: tuple[int, ...],
    linear: bool,
    mode: str,
    padding: tuple[str, ...],
) -> tuple[_Launch, _Launch, _Launch]:
    """The gradient of the image gathered where that is possible, else scattered in whole numbers."""
    # In volumes of one channel a pixel takes longer to find the samples around it than they take to add to it.
    ndim = len(like.shape) - 2
    pays = ndim < 3 or like.shape[1] > 1
    affine = linear and coordinates.shape[1] == ndim
    images, _, maps = counts = _counts(like, out)
    gathers = pays and affine and maps <= _MOST_GATHERED and set(padding) <= {"zeros", "constant"}
    limbs = 2 if torch.float64 in (like.dtype, coordinates.dtype) else 1
    # Cubic weights add up to less than 3 in magnitude, of which as many as there are samples may meet in one pixel.
    bits = 60 - math.ceil(math.log2(3 * maps * gradient.shape[2]))
    how = _how(like, coordinates, out, linear, mode, padding)
    shared = {key: how[key] for key in ("NDIM", "PRECISION", "W")}
    shared |= {"TAPS": taps_of(mode), "GATHERS": gathers, "LIMBS": limbs}
    numbers = (*gradient.stride, *coordinates.stride[:3], *_spatial(like.shape), *_spatial(out), *counts)

    values = max(math.prod(like.shape[1:]), maps * math.prod(out[1:]))
    programs = min(_pieces(values, _SMALLEST_BLOCK), _pieces(_MOST_SUMS, images))
    prepare = _Launch(
        image_kernels.prepare,
        images * programs,
        (*numbers, gradient.shape[2], programs),
        shared | {"BLOCK": _SMALLEST_BLOCK},
    )
    scatter = _plan_scatter(like, gradient, coordinates, out, linear, mode, padding, bits, gathers, limbs)
    at_once = min(like.shape[1], _MOST_CHANNELS)
    blocks = _pieces(math.prod(like.shape[2:]), _BLOCK_OF_PIXELS) * _pieces(like.shape[1], at_once)
    index = _index(gradient, coordinates, dense=[like.shape, out])
    shared |= {"MODE": mode, "INDEX": index, "BLOCK": _BLOCK_OF_PIXELS, "CHANNELS": at_once}
    finish = _Launch(image_kernels.finish, images * blocks, (*numbers, bits, *_over(like.shape)), shared)
    return prepare, scatter, finish


def _how(
    image: _Layout, coordinates: _Layout, out: tuple[int, ...], linear: bool, mode: str, padding: Sequence[str]
) -> dict[str, Any]:
    """What kernels are compiled for."""
    ndim = len(image.shape) - 2
    taps = taps_of(mode) ** ndim
    block = next((block for most, block in _BLOCKS if taps <= most), _SMALLEST_BLOCK)
    while block > _SMALLEST_BLOCK and out[0] * _pieces(math.prod(out[2:]), block) < _FEWEST_PROGRAMS:
        block //= 2
    return {
        "NDIM": ndim,
        "LINEAR": linear,
        "PROJECTIVE": linear and coordinates.shape[1] > ndim,
        "FOOTPRINTS": len(coordinates.shape) == 4,
        "MODE": mode,
        # Fill values are dealt with apart.
        "PADDING": padding_code(padding),
        "PRECISION": 2 * torch.finfo(coordinates.dtype).eps,
        "W": tl.float64 if torch.float64 in (image.dtype, coordinates.dtype) else tl.float32,
        "BLOCK": block,
        "UNROLL": _UNROLL if taps <= _FEW_TAPS and out[1] >= _MOST_CHANNELS else 1,
    }


def _in_cells(image: _Layout, how: Mapping[str, Any]) -> bool:
    """Whether samples can be read as lying in cells, which rounding must not move out of the picture."""
    linear = how["MODE"] == "linear" and not how["FOOTPRINTS"]
    return linear and max(image.shape[2:]) * how["PRECISION"] < MOST_TOLERANCE


def _in_boxes(how: Mapping[str, Any], out: tuple[int, ...]) -> dict[str, int]:
    """How kernels are compiled for taking linear samples in boxes, or in blocks where boxes do not pay."""
    if how["NDIM"] < 3 or not how["LINEAR"] or how["PROJECTIVE"]:
        return _IN_BLOCKS
    for depth in _DEPTHS:
        boxes = out[0] * math.prod(_boxes(out, depth))
        block = BOX_X.value * BOX_Y.value
        if boxes >= _FEWEST_BOXES and boxes * depth * block <= _MOST_OF_BOXES * out[0] * math.prod(out[2:]):
            return {"DEPTH": depth, "BLOCK": block, "num_warps": block // 32}
    return _IN_BLOCKS


def _boxes(out: tuple[int, ...], depth: int) -> tuple[int, int, int]:
    """How many boxes of samples lie along x, y and z."""
    x, y, z = _spatial(out)
    return _pieces(x, BOX_X.value), _pieces(y, BOX_Y.value), _pieces(z, depth)


def _pieces_of(out: tuple[int, ...], how: Mapping[str, Any]) -> int:
    """How many boxes or blocks the samples of one map fill."""
    depth = how.get("DEPTH", 0)
    return math.prod(_boxes(out, depth)) if depth else _pieces(math.prod(out[2:]), how["BLOCK"])


def _shares(out: tuple[int, ...], how: Mapping[str, Any], most: int) -> tuple[int, int]:
    """How many programs share the samples of one map, and how many channels each takes."""
    programs = min(_pieces_of(out, how), _pieces(most, out[0]))
    groups = max(1, min(_FEWEST_PROGRAMS // (out[0] * programs), out[1] // _UNROLL))
    return programs, _pieces(out[1], groups)


def _spatial(shape: Sequence[int]) -> tuple[int, ...]:
    """Extents in the order x, y, z; 1 for axes that there are not."""
    return (*reversed(shape[2:]), 1, 1)[:3]


def _strides(image: _Layout) -> tuple[int, ...]:
    """Those of images, channels, x, y, z."""
    return (*image.stride[:2], *(*reversed(image.stride[2:]), 0, 0)[:3])


def _strides_of_four(coordinates: _Layout) -> tuple[int, ...]:
    """The last is that of a footprint's changes, which matrices and points do not have."""
    return (*coordinates.stride, 0)[:4]


def _counts(image: _Layout, out: tuple[int, ...]) -> tuple[int, int, int]:
    """How many images there are, channels, and maps of an image."""
    return image.shape[0], image.shape[1], out[0] // image.shape[0]


def _samples(
    image: _Layout, coordinates: _Layout, out: tuple[int, ...], fill: _Layout | None, depth: int
) -> tuple[int, ...]:
    """What kernels are told of samples that read an image: strides of their coordinates and of the fill, and sizes.

    Both sizes in pixels; how many channels there are, maps of an image, and samples of a map; what they divide by.
    """
    by_channel = 0 if fill is None or math.prod(fill.shape) == 1 else fill.stride[0]
    counts = (*_counts(image, out)[1:], math.prod(out[2:]))
    over = tuple(map(reciprocal, _boxes(out, depth)[:2])) if depth else _over(out)
    return (*_strides_of_four(coordinates), by_channel, *_spatial(image.shape), *_spatial(out), *counts, *over)


def _index(*layouts: _Layout, dense: Sequence[Sequence[int]]) -> tl.dtype:
    """The type of offsets within one image, or what is of one map; `dense` are shapes of tensors without gaps.

    Samples are numbered, too, however few elements those that are given lie in.
    """
    spans = [sum((n - 1) * abs(s) for n, s in zip(of.shape[1:], of.stride[1:], strict=True)) for of in layouts]
    spans += [math.prod(shape[1:]) for shape in dense]
    return tl.int64 if max(spans) >= 2**31 - _BLOCKS[0][1] else tl.int32


def _over(out: Sequence[int]) -> tuple[int, int]:
    """What the kernels divide by: reciprocals of the extents along x and y."""
    x, y, _ = _spatial(out)
    return reciprocal(x), reciprocal(y)


def _pieces(length: int, of: int) -> int:
    return -(-length // of)
