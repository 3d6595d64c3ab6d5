"""The sampler's operators: the door, and the one choice by device."""

import math

from torch import Tensor

from unwarp.checks import check_choice, check_coordinates, check_image
from unwarp.sampling import reference
from unwarp.sampling.modes import MODES, PADDINGS


def sample(
    image: Tensor, grid: Tensor, *, mode: str = "linear", padding: str = "zeros", fill: float | Tensor = 0.0
) -> Tensor:
    """Read an image at normalised coordinates.

    Args:
        image: `[N, C, *in]`, one to three spatial axes; float16, bfloat16, float32, float64 or uint8.
        grid: `[N, *out, D]`, or `[N, K, *out, D]` for K grids per image, with as many axes `*out` as the image has
            spatial ones; float32 or float64; (x, y, z) in -1..1 from edge to edge.
        mode: "nearest", "linear" or "cubic" (Keys, slope -0.75).
        padding: what lies outside: "zeros", "constant" (`fill`), "border", "reflection" (about the edge) or "wrap".
        fill: a number, or a tensor `[C]`, for `padding="constant"`.

    Returns:
        `[N, C, *out]`, or `[N, K, C, *out]`, of the image's dtype; uint8 is rounded and has no gradient. A coordinate
        that is not finite reads as outside. A sample at a pixel's centre is that pixel, bit for bit.

    Raises:
        TypeError, ValueError: for a dtype, shape or word that is not of this form, or tensors on different devices.
    """
    check_image(image)
    check_coordinates("grid", grid)
    check_choice("mode", mode, MODES)
    check_choice("padding", padding, PADDINGS)
    ndim = image.ndim - 2
    if grid.ndim not in (ndim + 2, ndim + 3) or grid.shape[-1] != ndim or grid.shape[0] != image.shape[0]:
        raise ValueError(
            f"grid: wanted [N, *out, {ndim}] or [N, K, *out, {ndim}] for an image of shape {list(image.shape)}, "
            f"got {list(grid.shape)}"
        )
    if grid.device != image.device:
        raise ValueError(f"grid: wanted the image's device {image.device}, got {grid.device}")
    _check_fill(fill, padding, image.shape[1])

    out_size = grid.shape[-1 - ndim : -1]
    points = grid.reshape(grid.shape[0], math.prod(grid.shape[1:-1]), ndim)
    result = reference.sample(image, points, mode, padding, fill)
    if grid.ndim == ndim + 2:
        return result.unflatten(2, out_size)
    return result.unflatten(2, (grid.shape[1], *out_size)).movedim(2, 1)


def _check_fill(fill: float | Tensor, padding: str, channels: int) -> None:
    if isinstance(fill, Tensor):
        if fill.numel() != 1 and tuple(fill.shape) != (channels,):
            raise ValueError(f"fill: wanted a number or one per channel [{channels}], got {list(fill.shape)}")
    elif not -math.inf < fill < math.inf:
        raise ValueError(f"fill: wanted a finite number, got {fill}")
    elif fill != 0 and padding != "constant":
        raise ValueError(f"fill: wanted padding='constant' with it, got padding={padding!r}")
