"""Image + coordinates -> image, for callers: the door, and what an interpolation does before and after the operator."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from unwarp.checks import check_choice, check_coordinates, check_image, check_tensor
from unwarp.coordinates import extents
from unwarp.sampling.antialias import footprints_of_grid
from unwarp.sampling.modes import MODES, PADDINGS, spline_degree
from unwarp.sampling.ops import read, read_adjoint
from unwarp.sampling.splines import spline_coefficients


def sample(
    image: Tensor,
    grid: Tensor,
    *,
    mode: str = "linear",
    padding: str | Sequence[str] = "zeros",
    fill: float | Tensor = 0.0,
    antialias: bool = False,
    align_corners: bool = False,
) -> Tensor:
    """Read an image at normalised coordinates.

    Args:
        image: `[N, C, *in]`, one to three spatial axes; float16, bfloat16, float32, float64 or uint8.
        grid: `[N, *out, D]`, or `[N, K, *out, D]` for K grids per image, with as many axes `*out` as the image has
            spatial ones; float32 or float64; (x, y, z) in -1..1 from edge to edge.
        mode: "nearest", "linear", "cubic" (Keys, slope -0.75), or "spline2" to "spline5" (B-splines).
        padding: what lies outside: "zeros", "constant" (`fill`), "border", "reflection" (about the edge) or "wrap"; one
            word for all spatial axes, or one for each.
        fill: a number, or a tensor `[C]`, for `padding="constant"`.
        antialias: where neighbouring samples lie more than a pixel apart, take the mean over what lies between them.
        align_corners: read the grid as torch's `align_corners=True` does, with -1 and 1 at the centres of the first and
            last pixel; for models that were trained so.

    Returns:
        `[N, C, *out]`, or `[N, K, C, *out]`, of the image's dtype; uint8 is rounded and has no gradient. A coordinate
        that is not finite reads as outside. A sample at a pixel's centre is that pixel, bit for bit (B-splines: up to
        rounding).

    Raises:
        TypeError, ValueError: for a dtype, shape or word that is not of this form, or tensors on different devices.
    """
    check_image(image)
    check_coordinates("grid", grid)
    ndim = image.ndim - 2
    if grid.ndim not in (ndim + 2, ndim + 3) or grid.shape[-1] != ndim or grid.shape[0] != image.shape[0]:
        raise ValueError(
            f"grid: wanted [N, *out, {ndim}] or [N, K, *out, {ndim}] for an image of shape {list(image.shape)}, "
            f"got {list(grid.shape)}"
        )
    check_same_device("grid", grid, image)
    if align_corners:
        extent = extents(grid, image.shape[2:])
        grid = grid * ((extent - 1) / extent)

    size = grid.shape[-1 - ndim : -1]
    maps = grid.shape[1 : -1 - ndim]
    places = footprints_of_grid(grid, ndim) if antialias else grid
    places = places.reshape(math.prod(grid.shape[: -1 - ndim]), math.prod(size), *places.shape[grid.ndim - 1 :])
    values = sample_at(image, places, size, linear=False, mode=mode, padding=padding, fill=fill)
    return values.unflatten(0, (image.shape[0], *maps)) if maps else values


def sample_at(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    *,
    linear: bool,
    mode: str,
    padding: str | Sequence[str],
    fill: float | Tensor,
) -> Tensor:
    """`sample` for callers who have looked at the shapes: K maps of each image in one batch axis.

    Args:
        image: `[N, C, *in]`.
        coordinates: normalised pull matrices `[N K, D or D+1, D+1]` where `linear`, else points `[N K, Q, D]`, or
            footprints `[N K, Q, D, D+1]` (see antialias.py).
        size: spatial size of the output, with Q the product of it.
        linear: whether the coordinates are matrices. No grid of theirs is made.
        mode: see `sample`.
        padding: see `sample`.
        fill: see `sample`.

    Returns:
        `[N K, C, *size]`.
    """
    check_choice("mode", mode, MODES)
    ndim = image.ndim - 2
    beyond = paddings_of(padding, ndim)
    background = _background(fill, "constant" in beyond, image)

    if spline_degree(mode) is None:
        return read(image, coordinates, size, linear, mode, beyond, background)
    wide = image.double() if image.dtype == torch.float64 else image.float()
    level = 0.0 if background is None else background.to(wide.dtype).reshape(-1, *(1,) * ndim)
    coefficients = spline_coefficients(wide - level, mode, beyond) + level
    values = read(coefficients, coordinates, size, linear, mode, beyond, background)
    if image.dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    return values.to(image.dtype)


def sample_adjoint_at(
    values: Tensor,
    coordinates: Tensor,
    like: Tensor,
    *,
    linear: bool,
    mode: str,
    padding: str | Sequence[str],
) -> Tensor:
    """The transpose of `sample_at`, as a function of the image and without a fill.

    Args:
        values: `[N K, C, *size]`, floating.
        coordinates: see `sample_at`.
        like: `[N, C, *in]`: what the result is like in shape, dtype and memory format.
        linear: see `sample_at`.
        mode: see `sample`.
        padding: see `sample`.
    """
    check_choice("mode", mode, MODES)
    beyond = paddings_of(padding, like.ndim - 2)
    if spline_degree(mode) is None:
        return read_adjoint(values, coordinates, like, linear, mode, beyond)
    wide = torch.promote_types(like.dtype, torch.float32)
    given = read_adjoint(values.to(wide), coordinates, like.to(wide), linear, mode, beyond)
    return spline_coefficients(given, mode, beyond, transposed=True).to(like.dtype)


def check_same_device(name: str, tensor: Tensor, image: Tensor) -> None:
    """Raise ValueError unless `tensor` is where the image is."""
    if tensor.device != image.device:
        raise ValueError(f"{name}: wanted the device {image.device} of what it is used on, got {tensor.device}")


def paddings_of(padding: str | Sequence[str], ndim: int) -> tuple[str, ...]:
    """A word for each spatial axis. TypeError or ValueError if that is not what `padding` says."""
    if not isinstance(padding, (str, Sequence)):
        raise TypeError(f"padding: wanted a word, or a sequence of words, got {type(padding).__name__}")
    beyond = (padding,) * ndim if isinstance(padding, str) else tuple(padding)
    if len(beyond) != ndim:
        raise ValueError(f"padding: wanted one word, or one for each of {ndim} spatial axes, got {beyond}")
    for word in beyond:
        check_choice("padding", word, PADDINGS)
    if "constant" in beyond and "zeros" in beyond:
        raise ValueError(f"padding: wanted one value outside, not both zeros and constant; got {beyond}")
    return beyond


def _background(fill: float | Tensor, constant: bool, image: Tensor) -> Tensor | None:
    if fill.__class__ is float and fill == 0:  # to look closer takes as long as a small launch
        return None
    channels = image.shape[1]
    if isinstance(fill, Tensor):
        check_tensor("fill", fill)
        if fill.is_meta and not image.is_meta:
            raise ValueError("fill: wanted numbers, got a tensor on the device meta, which has none")
        if fill.is_complex():
            raise TypeError(f"fill: wanted real numbers, got {fill.dtype}")
        if fill.numel() != 1 and tuple(fill.shape) != (channels,):
            raise ValueError(f"fill: wanted a number or one per channel [{channels}], got {list(fill.shape)}")
        if not constant:
            raise ValueError("fill: wanted padding='constant' with it, got padding without it")
        return fill.reshape(-1).to(image.device)
    if not isinstance(fill, Real):
        raise TypeError(f"fill: wanted a number or a tensor, got {type(fill).__name__}")
    held = image.dtype if image.is_floating_point() else torch.float32
    if not abs(fill) <= torch.finfo(held).max:
        raise ValueError(f"fill: wanted a finite number of {held}, got {fill}")
    if fill != 0 and not constant:
        raise ValueError("fill: wanted padding='constant' with it, got padding without it")
    return torch.full((1,), float(fill), dtype=torch.float64, device=image.device) if fill != 0 else None
