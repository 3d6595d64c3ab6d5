"""The one coordinate convention, and the way between it and pixels.

Coordinates are normalised, in (x, y, z) order, and run from -1 to 1 from the outer edge of the first pixel to the
outer edge of the last. Sizes keep the order of the tensor's axes, (H, W) or (D, H, W). The centre of pixel `i` of `S`
is at `(2 i + 1 - S) / S`. Maps are pull maps: from output to input coordinates.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Points at or beyond the horizon of a projective map (w <= 0) are sent far out, where they read as outside.
HORIZON = 1e-3


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


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast rounds nothing there. Some devices, `meta` among them, know no autocast."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrices `a @ b`, as exact as their dtype: a matmul would be rounded by autocast and TF32."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrices `a @ b` where `product` would take too much memory, as exact as their dtype, too."""
    with without_autocast(a.device):
        # Whether TF32 is allowed, compiled programs cannot ask, nor others once it was set in torch's two ways.
        if a.is_cuda and a.dtype == torch.float32:
            return (a.double() @ b.double()).to(a.dtype)
        return a @ b


def combine(matrix: Tensor, coordinates: Sequence[Tensor], batch_axes: int) -> Tensor:
    """`matrix @ (x, y, ..., 1)` for coordinates `[*batch, ...]`, one tensor each; gives `[*batch, ..., rows]`."""
    # Sums of products, not a matmul: autocast and TF32 would round the coordinates.
    spread = (..., *(None for _ in range(coordinates[0].ndim - batch_axes)), slice(None))
    total = matrix[..., -1][spread]
    for axis, coordinate in enumerate(coordinates):
        total = total + matrix[..., axis][spread] * coordinate.unsqueeze(-1)
    return total


def divide(combined: Tensor) -> Tensor:
    """Homogeneous points `[..., D+1]` as points `[..., D]`; at or beyond the horizon they are far outside."""
    w = combined[..., -1:]
    image = combined[..., :-1] / w.clamp_min(HORIZON)
    # Not copysign, which torch cannot write as ONNX.
    far = image.abs().clamp_min(1 / HORIZON)
    return torch.where(w > HORIZON, image, torch.where(image < 0, -far, far))


def linear_grid(matrix: Tensor, size: Sequence[int]) -> Tensor:
    """Where `matrix [*batch, D or D+1, D+1]` takes the pixel centres of a picture: `[*batch, *size, D]`."""
    batch_axes = matrix.ndim - 2
    axes = []
    for axis, count in enumerate(size):
        centers = pixel_centers(count, dtype=matrix.dtype, device=matrix.device)
        shape = [1] * (batch_axes + len(size))
        shape[batch_axes + axis] = count
        axes.append(centers.reshape(shape))
    combined = combine(matrix, axes[::-1], batch_axes)
    return combined if matrix.shape[-2] == len(size) else divide(combined)


def extents(like: Tensor, size: Sequence[int]) -> Tensor:
    """A size in pixels as a tensor `[D]`, (x, y, z), of the dtype and on the device of `like`."""
    return torch.stack([torch.full((), s, dtype=like.dtype, device=like.device) for s in reversed(size)])


def to_pixel(points: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates, (x, y, z), 0 at the centre of the first pixel, of normalised `points [..., D]`."""
    extent = extents(points, size)
    return (points * extent + (extent - 1)) / 2


def to_normalized(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """The inverse of `to_pixel`."""
    extent = extents(pixels, size)
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
    return product(product(torch.linalg.inv(inward), matrix), outward)
