"""The sampler in the operators of ONNX, in place of `unwarp::read` while torch.onnx.export traces a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.coordinates import linear_grid, to_normalized, to_pixel
from unwarp.sampling import reference
from unwarp.sampling.modes import tolerances

# Far beyond any picture, in half extents, yet no runtime's pixel index overflows.
_FARTHEST = float(2**20)
# The words of GridSample for pictures before opset 20; torch rewrites them where a later one is asked for.
_FLAT_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """`reference.read` by the operator GridSample where it can say it, else in plain operators."""
    ndim = image.ndim - 2
    # ONNX has cubic volumes, ONNX Runtime has not.
    if len(set(padding)) > 1 or padding[0] == "wrap" or (mode == "cubic" and ndim == 3):
        return reference.read(image, coordinates, size, linear, mode, padding, fill)

    grid = linear_grid(coordinates, size) if linear else coordinates.unflatten(1, tuple(size))
    wide = torch.promote_types(grid.dtype, torch.float64 if image.dtype == torch.float64 else torch.float32)
    finite = torch.isfinite(grid).all(-1)
    # Asked for a coordinate that is not a number, a runtime might read anywhere.
    points = torch.where(grid.isnan(), 0.0, grid).clamp(-_FARTHEST, _FARTHEST).to(wide)
    if mode == "nearest":
        points = _to_nearest(points, image.shape[2:], tolerances(grid, image.shape[2:]))

    border = "zeros" if padding[0] == "constant" else padding[0]
    source, outside = image.to(wide), torch.zeros((), dtype=wide, device=image.device)
    if fill is None:
        values = _grid_sample(source, points, mode, border)
    else:  # GridSample knows no value outside but zero
        outside = fill.to(wide).reshape(-1, *(1,) * ndim)
        values = _grid_sample(source - outside, points, mode, border) + outside
    values = torch.where(finite.unsqueeze(1), values, outside)
    if image.dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    return values.to(image.dtype)


def _to_nearest(points: Tensor, in_size: Sequence[int], tolerance: Tensor) -> Tensor:
    """The pixel centres nearest to normalised points. Half-way between two, GridSample would take the even one."""
    return to_normalized(torch.floor(to_pixel(points, in_size) + (0.5 + tolerance)), in_size)


def _grid_sample(image: Tensor, points: Tensor, mode: str, padding: str) -> Tensor:
    """`image [N, C, *in]` at `points [N K, *out, D]`, of one dtype: `[N K, C, *out]`."""
    if image.ndim == 3:  # GridSample reads no rows, but pictures of height 1
        points = torch.cat([points, torch.zeros_like(points)], dim=-1)
        return _grid_sample(image.unsqueeze(2), points.unsqueeze(1), mode, padding).squeeze(2)
    count, channels = image.shape[:2]
    maps = points.shape[0] // count
    height, *rest = points.shape[1:-1]
    # The outputs of one image below each other, so that it is not copied.
    grid = points if maps == 1 else points.reshape(count, maps * height, *points.shape[2:])
    # Not torch's grid_sample, which is traced pixel by pixel and knows no volumes.
    volumes = image.ndim == 5
    word = mode if volumes else _FLAT_MODES[mode]
    values = torch.onnx.ops.symbolic(
        "GridSample",
        (image, grid),
        {"mode": word, "padding_mode": padding, "align_corners": 0},
        dtype=image.dtype,
        shape=(count, channels, maps * height, *rest),
        version=20 if volumes else 16,
    )
    return values if maps == 1 else values.unflatten(2, (maps, height)).movedim(2, 1).flatten(0, 1)
