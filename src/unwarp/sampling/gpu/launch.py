"""Glue to the Triton kernels: tensors in, tensors out; no autograd, and no waiting for the device."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from unwarp.sampling.gpu import image as image_kernels
from unwarp.sampling.gpu import kernels
from unwarp.sampling.gpu.locate import reciprocal
from unwarp.sampling.gpu.taps import padding_code
from unwarp.sampling.modes import taps_of

# Samples that a program of four warps takes at once: several per thread, which hides latency, or one where it reads so
# many pixels that registers run short, or where a large GPU would have too few programs (fewer than so many).
_BLOCKS = ((4, 512), (16, 256))
_SMALLEST_BLOCK = 128
_FEWEST_PROGRAMS = 1024
# More programs than this, which are some waves of them, go through several blocks each; so do those that add up the
# gradient of a matrix, beyond fewer.
_MOST_PROGRAMS = 8192
_MOST_SUMS = 2048
# So few blocks are added up by one program: to add up its sums and others' would take longer.
_FEW_BLOCKS = 8
_BLOCK_OF_PIXELS = 256
# So many channels of a pixel are gathered at once; as many are many, of which so many are read at once where samples
# read few pixels.
_MOST_CHANNELS = 8
_UNROLL, _FEW_TAPS = 4, 4
_END_OF_INT32 = 2**31
# Compiled kernels and the order of their constants, by what `_run` compiles them for.
_compiled: dict[Any, tuple[Any, list[str]]] = {}


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
    if not out.numel():
        return out
    how = _how(image, coordinates, out, linear, mode, padding)
    how |= {"FILLED": fill is not None, "INDEX": _index(image, out, coordinates)}
    programs, at_once = _shares(out, how["BLOCK"])
    _run(
        kernels.read,
        out.shape[0] * programs * _pieces(out.shape[1], at_once),
        (image, coordinates, image if fill is None else fill, out),
        (
            *_strides(image),
            *coordinates.stride()[:3],
            *_filling(fill),
            *_sizes(image, out),
            *_over(size),
            programs,
            at_once,
        ),
        how,
    )
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
    if mode == "nearest" or not grad_out.numel():
        return torch.zeros_like(coordinates, memory_format=torch.contiguous_format)
    gradient = grad_out.flatten(2)
    how = _how(image, coordinates, grad_out, linear, mode, padding)
    how |= {"FILLED": fill is not None, "INDEX": _index(image, gradient, coordinates)}
    blocks = _pieces(gradient.shape[2], how["BLOCK"])
    programs = min(blocks, _pieces(_MOST_SUMS, grad_out.shape[0])) if linear and blocks > _FEW_BLOCKS else blocks
    programs = 1 if linear and blocks <= _FEW_BLOCKS else programs
    result = torch.empty_like(coordinates, memory_format=torch.contiguous_format)
    parts = result
    if linear and programs > 1:
        wide = _computing_dtype(image, coordinates)
        parts = torch.empty(result.shape[0], programs, *result.shape[1:], dtype=wide, device=result.device)
    _run(
        kernels.grad_coordinates,
        grad_out.shape[0] * programs,
        (image, gradient, coordinates, image if fill is None else fill, parts),
        (
            *_strides(image),
            *gradient.stride(),
            *coordinates.stride()[:3],
            *_filling(fill),
            *_sizes(image, grad_out),
            *_over(grad_out.shape[2:]),
            programs,
        ),
        how,
    )
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
    how = _how(like, coordinates, grad_out, linear, mode, padding)
    if torch.are_deterministic_algorithms_enabled():
        affine = linear and coordinates.shape[1] == like.ndim - 2
        gathers = affine and all(word in ("zeros", "constant") for word in padding)
        return _exactly(grad_out, coordinates, like, gathers, how)
    result = torch.zeros(like.shape, dtype=_computing_dtype(like, coordinates), device=like.device)
    _scatter(grad_out, coordinates, like, result, result, result, 0, False, 0, how)
    return result.to(like.dtype)


def _exactly(grad_out: Tensor, coordinates: Tensor, like: Tensor, gathers: bool, how: dict[str, Any]) -> Tensor:
    """The gradient of the image, gathered where that is possible, else in whole numbers."""
    gradient = grad_out.flatten(2)
    wide = _computing_dtype(like, coordinates) == torch.float64
    limbs = 2 if wide else 1
    fixed = torch.empty(limbs, *like.shape, dtype=torch.int64, device=like.device)
    limits = torch.zeros(like.shape[0], dtype=torch.int64 if wide else torch.int32, device=like.device)
    scatters = torch.empty(like.shape[0], dtype=torch.int32, device=like.device)
    # Cubic weights add up to less than 3 in magnitude, of which as many as there are samples may meet in one pixel.
    bits = 60 - math.ceil(math.log2(3 * gradient.shape[0] // like.shape[0] * gradient.shape[2]))
    places = (*gradient.stride(), *coordinates.stride()[:3])
    counts = (like.shape[0], like.shape[1], gradient.shape[0] // like.shape[0])
    sizes = _spatial(like) + _spatial(grad_out)
    shared = {key: how[key] for key in ("NDIM", "PRECISION", "W")} | {"TAPS": taps_of(how["MODE"])}
    shared |= {"GATHERS": gathers, "LIMBS": limbs}

    values = max(like[0].numel(), gradient.numel() // like.shape[0])
    _run(
        image_kernels.prepare,
        like.shape[0] * _pieces(values, _SMALLEST_BLOCK),
        (gradient, coordinates, fixed, limits, scatters),
        (*places, *sizes, *counts, gradient.shape[2]),
        shared | {"BLOCK": _SMALLEST_BLOCK},
    )
    _scatter(grad_out, coordinates, like, fixed, limits, scatters, bits, gathers, limbs, how)
    result = torch.empty_like(like, memory_format=torch.contiguous_format)
    at_once = min(like.shape[1], _MOST_CHANNELS)
    blocks = _pieces(like[0, 0].numel(), _BLOCK_OF_PIXELS) * _pieces(like.shape[1], at_once)
    _run(
        image_kernels.finish,
        like.shape[0] * blocks,
        (gradient, coordinates, fixed, limits, scatters, result),
        (*places, *sizes, *counts, bits, *_over(like.shape[2:])),
        shared
        | {
            "MODE": how["MODE"],
            "INDEX": _index(result, gradient, coordinates),
            "BLOCK": _BLOCK_OF_PIXELS,
            "CHANNELS": at_once,
        },
    )
    return result


def _scatter(
    grad_out: Tensor,
    coordinates: Tensor,
    like: Tensor,
    result: Tensor,
    limits: Tensor,
    scatters: Tensor,
    bits: int,
    gathers: bool,
    limbs: int,
    how: dict[str, Any],
) -> None:
    gradient = grad_out.flatten(2)
    programs, at_once = _shares(grad_out, how["BLOCK"])
    _run(
        image_kernels.scatter,
        grad_out.shape[0] * programs * _pieces(grad_out.shape[1], at_once),
        (gradient, coordinates, result, limits, scatters),
        (
            *gradient.stride(),
            *coordinates.stride()[:3],
            *_spatial(like),
            *_spatial(grad_out),
            like.shape[0],
            like.shape[1],
            gradient.shape[0] // like.shape[0],
            gradient.shape[2],
            bits,
            *_over(grad_out.shape[2:]),
            programs,
            at_once,
        ),
        how | {"GATHERS": gathers, "LIMBS": limbs, "INDEX": _index(result, gradient, coordinates)},
    )


def _run(
    kernel: Any, programs: int, tensors: Sequence[Tensor], numbers: Sequence[int], constants: Mapping[str, Any]
) -> None:
    """Launch a kernel on the current device.

    Triton finds out at each launch which compiled kernel fits the arguments, which takes longer than a small warp;
    here that depends on the dtypes, on which numbers need 64 bits, and on the constants alone.
    """
    device = torch.cuda.current_device() if tensors[0].is_cuda else None
    dtypes = [tensor.dtype for tensor in tensors]
    key = (kernel.fn, device, *dtypes, *map(_END_OF_INT32.__gt__, numbers), *constants.values())
    if key in _compiled:
        compiled, names = _compiled[key]
        compiled[programs, 1, 1](*tensors, *numbers, *(constants[name] for name in names))
        return
    compiled = kernel[programs,](*tensors, *numbers, **constants)
    if compiled is not None:  # interpreted, it is not
        _compiled[key] = compiled, [name for name in kernel.arg_names if name in constants]


def _computing_dtype(image: Tensor, coordinates: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (image.dtype, coordinates.dtype) else torch.float32


def _how(
    image: Tensor, coordinates: Tensor, out: Tensor, linear: bool, mode: str, padding: Sequence[str]
) -> dict[str, Any]:
    """What kernels are compiled for."""
    ndim = image.ndim - 2
    taps = taps_of(mode) ** ndim
    block = next((block for most, block in _BLOCKS if taps <= most), _SMALLEST_BLOCK)
    while block > _SMALLEST_BLOCK and out.shape[0] * _pieces(math.prod(out.shape[2:]), block) < _FEWEST_PROGRAMS:
        block //= 2
    return {
        "NDIM": ndim,
        "LINEAR": linear,
        "PROJECTIVE": linear and coordinates.shape[1] > ndim,
        "MODE": mode,
        # Fill values are dealt with apart.
        "PADDING": padding_code(padding),
        "PRECISION": 2 * torch.finfo(coordinates.dtype).eps,
        "W": tl.float64 if _computing_dtype(image, coordinates) == torch.float64 else tl.float32,
        "BLOCK": block,
        "UNROLL": _UNROLL if taps <= _FEW_TAPS and out.shape[1] >= _MOST_CHANNELS else 1,
    }


def _spatial(tensor: Tensor) -> tuple[int, ...]:
    """Its extents in the order x, y, z; 1 for axes that it has not."""
    return (*reversed(tensor.shape[2:]), 1, 1)[:3]


def _strides(image: Tensor) -> tuple[int, ...]:
    """Those of images, channels, x, y, z."""
    return (*image.stride()[:2], *(*reversed(image.stride()[2:]), 0, 0)[:3])


def _sizes(image: Tensor, out: Tensor) -> tuple[int, ...]:
    """Of both in pixels; how many channels there are, maps of an image, and samples of a map."""
    maps = out.shape[0] // image.shape[0]
    return (*_spatial(image), *_spatial(out), image.shape[1], maps, math.prod(out.shape[2:]))


def _filling(fill: Tensor | None) -> tuple[int]:
    return (0 if fill is None or fill.numel() == 1 else fill.stride(0),)


def _index(*tensors: Tensor) -> tl.dtype:
    """The type of offsets within one image, or what is of one map."""
    most = max(sum((n - 1) * abs(s) for n, s in zip(t.shape[1:], t.stride()[1:], strict=True)) for t in tensors)
    return tl.int64 if most >= 2**31 - _BLOCKS[0][1] else tl.int32


def _shares(out: Tensor, block: int) -> tuple[int, int]:
    """How many programs share the samples of one map, and how many channels each takes."""
    programs = min(_pieces(math.prod(out.shape[2:]), block), _pieces(_MOST_PROGRAMS, out.shape[0]))
    groups = max(1, min(_FEWEST_PROGRAMS // (out.shape[0] * programs), out.shape[1] // _UNROLL))
    return programs, _pieces(out.shape[1], groups)


def _over(size: Sequence[int]) -> tuple[int, int]:
    """What the kernels divide by: reciprocals of the extents along x and y."""
    x, y = (*reversed(size), 1)[:2]
    return reciprocal(x), reciprocal(y)


def _pieces(length: int, of: int) -> int:
    return -(-length // of)
