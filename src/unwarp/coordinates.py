"""The one coordinate convention, and the way between it and pixels.

Coordinates are normalised, in (x, y, z) order, and run from -1 to 1 from the outer edge of the first pixel to the
outer edge of the last. Sizes keep the order of the tensor's axes, (H, W) or (D, H, W). The centre of pixel `i` of `S`
is at `(2 i + 1 - S) / S`. Maps are pull maps: from output to input coordinates.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pixel_centers(count: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Normalised coordinates `[count]` of the pixel centres along one axis."""
    return (2 * torch.arange(count, dtype=dtype, device=device) - (count - 1)) / count


def identity_grid(
    size: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """Normalised coordinates `[*size, D]` of every pixel centre of a picture of that size.

    >>> identity_grid((1, 2))
    tensor([[[-0.5000,  0.0000],
             [ 0.5000,  0.0000]]])
    """
    axes = [pixel_centers(count, dtype=dtype, device=device) for count in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)


def to_pixel(points: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates, (x, y, z), 0 at the centre of the first pixel, of normalised `points [..., D]`."""
    extent = _extent(points, size)
    return (points * extent + (extent - 1)) / 2


def to_normalized(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """The inverse of `to_pixel`."""
    extent = _extent(pixels, size)
    return (2 * pixels - (extent - 1)) / extent


def normalized_from_pixel_matrix(
    size: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """Homogeneous matrix `[D+1, D+1]` that takes pixel coordinates of a picture of that size to normalised ones."""
    extent = torch.tensor(list(size)[::-1], dtype=dtype, device=device)
    matrix = torch.diag(torch.cat([2 / extent, extent.new_ones(1)]))
    matrix[:-1, -1] = (1 - extent) / extent
    return matrix


def matrix_in_pixels(matrix: Tensor, in_size: Sequence[int], out_size: Sequence[int]) -> Tensor:
    """Homogeneous normalised pull matrix `[..., D+1, D+1]` as one from output pixels to input pixels."""
    inward = normalized_from_pixel_matrix(in_size, dtype=matrix.dtype, device=matrix.device)
    outward = normalized_from_pixel_matrix(out_size, dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.inv(inward) @ matrix @ outward


def _extent(points: Tensor, size: Sequence[int]) -> Tensor:
    return torch.stack([torch.full((), float(s), dtype=points.dtype, device=points.device) for s in reversed(size)])
