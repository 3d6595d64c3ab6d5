"""Interpolation and padding: the words, the weights of the taps, and where a tap outside the picture reads.

What each padding reads beyond the row `a b c d` (`.` is nothing, `f` the fill value):

    zeros       . . . [a b c d] . . .
    constant    f f f [a b c d] f f f
    border      a a a [a b c d] d d d
    reflection  c b a [a b c d] d c b
    wrap        b c d [a b c d] a b c
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.coordinates import extents

# The order of both is that of the enumerations in csrc/job.h.
MODES = ("nearest", "linear", "cubic", "spline2", "spline3", "spline4", "spline5")
PADDINGS = ("zeros", "constant", "border", "reflection", "wrap")

# How far from a pixel's centre, in pixels, a sample may be taken to lie there, however long the axis: with more, those
# that were rounded twice might be taken for a neighbour.
MOST_TOLERANCE = 0.2

# Keys' cubic convolution with the slope that OpenCV and torch use, so that ported models keep their numbers.
CUBIC_SLOPE = -0.75


def spline_degree(mode: str) -> int | None:
    """The degree of a B-spline mode; None for the others."""
    return int(mode[-1]) if mode.startswith("spline") else None


def taps_of(mode: str) -> int:
    """How many pixels a sample reads along each axis."""
    degree = spline_degree(mode)
    return {"nearest": 1, "linear": 2, "cubic": 4}[mode] if degree is None else degree + 1


def tolerances(coordinates: Tensor, size: Sequence[int]) -> Tensor:
    """How far rounding alone may have moved a position, in pixels along each axis `[D]`, (x, y, z)."""
    # Rounding moves a pixel coordinate by a few times this: one ulp of a coordinate near 1, times half the extent.
    precision = 2 * torch.finfo(coordinates.dtype).eps
    return (precision * extents(coordinates, size)).clamp_max(MOST_TOLERANCE)


def taps(position: Tensor, tolerance: float | Tensor, mode: str) -> list[tuple[Tensor, Tensor | None]]:
    """Pixel indices (integral, same dtype as `position`) and their weights (None for 1) along one axis.

    Args:
        position: pixel coordinates of any shape, finite.
        tolerance: how far from a pixel centre a position is that centre, so that aligned samples return the pixel
            itself; see `tolerances`.
        mode: one of `MODES`.
    """
    if mode == "nearest":
        return [(torch.floor(position.detach() + (0.5 + tolerance)), None)]
    centre = torch.round(position.detach())
    offset = centre - position.detach()
    position = position + torch.where(offset.abs() <= tolerance, offset, torch.zeros_like(offset))
    degree = spline_degree(mode)
    if degree is not None:
        # An even degree has its knots half-way between the pixels.
        shifted = position if degree % 2 else position + 0.5
        first = torch.floor(shifted.detach())
        weights = _spline_weights(shifted - first, degree)
        return [(first + (k - degree // 2), weight) for k, weight in enumerate(weights)]
    first = torch.floor(position.detach())
    fraction = position - first
    if mode == "linear":
        return [(first, 1 - fraction), (first + 1, fraction)]
    distances = (1 + fraction, fraction, 1 - fraction, 2 - fraction)
    weights = (_cubic_far, _cubic_near, _cubic_near, _cubic_far)
    return [(first + (k - 1), weights[k](distances[k])) for k in range(4)]


def _cubic_near(distance: Tensor) -> Tensor:
    return ((CUBIC_SLOPE + 2) * distance - (CUBIC_SLOPE + 3)) * distance * distance + 1


def _cubic_far(distance: Tensor) -> Tensor:
    return ((distance - 5) * distance + 8) * distance * CUBIC_SLOPE - 4 * CUBIC_SLOPE


def _spline_weights(fraction: Tensor, degree: int) -> list[Tensor]:
    """Weights of the B-splines of that degree that reach a point `fraction` past a knot (Cox and de Boor)."""
    weights = [torch.ones_like(fraction)]
    for j in range(1, degree + 1):
        saved = torch.zeros_like(fraction)
        for r in range(j):
            share = weights[r] / j
            weights[r] = saved + (r + 1 - fraction) * share
            saved = (fraction + (j - r - 1)) * share
        weights.append(saved)
    return weights


def read_index(index: Tensor, count: int, padding: str) -> tuple[Tensor, Tensor | None]:
    """Index in `[0, count)` that a tap reads, and whether it lies in the picture (None: every tap reads something)."""
    if padding == "border":
        return index.clamp(0, count - 1), None
    if padding == "reflection":
        folded = torch.remainder(index, 2 * count)
        return torch.minimum(folded, 2 * count - 1 - folded), None
    if padding == "wrap":
        return torch.remainder(index, count), None
    return index.clamp(0, count - 1), (index >= 0) & (index < count)
