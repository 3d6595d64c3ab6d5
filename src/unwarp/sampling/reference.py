"""The sampler in plain torch: it defines what every kernel must compute.

Works for any dtype and device, under `torch.compile`, `vmap` and derivatives of every order.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import product

import torch
from torch import Tensor

from unwarp.coordinates import linear_grid, to_pixel
from unwarp.sampling.antialias import probes
from unwarp.sampling.modes import read_index, taps, tolerances

# Far beyond any picture, yet an exact integer in float32 and safe to turn into an index.
_FARTHEST = float(2**30)


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """`image [N, C, *in]` read through K maps each; gives `[N K, C, *size]` in the image's dtype.

    Args:
        image: what is read; B-spline modes take their coefficients.
        coordinates: matrices `[N K, D or D+1, D+1]` where `linear`, else points `[N K, Q, D]`, Q the product of `size`,
            or footprints `[N K, Q, D, D+1]` (see antialias.py).
        size: spatial size of the output.
        linear: which of the two the coordinates are.
        mode: one of `MODES`.
        padding: one of `PADDINGS` for each spatial axis.
        fill: `[C]` or `[1]`; zeros if None.

    Sums are float32, or float64 where image or coordinates are. A point with a coordinate that is not finite reads the
    fill value.
    """
    grid = linear_grid(coordinates, size).flatten(1, -2) if linear else coordinates
    maps = grid.shape[0] // image.shape[0] if image.shape[0] else 0
    # All samples of an image in one axis, however many maps they belong to.
    places = grid.unflatten(0, (image.shape[0], maps)).flatten(1, 2)
    if places.ndim == 3 or not places.numel():
        values = _sample(image, places if places.ndim == 3 else places[..., -1], mode, padding, fill)
    else:
        shares = (
            _sample(image, points, mode, padding, fill) * weight.unsqueeze(1)
            for weight, points in probes(places, image.shape[2:])
        )
        values = reduce(torch.add, shares)
    if image.dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    values = values.to(image.dtype).unflatten(2, (maps, grid.shape[1]))
    return values.movedim(2, 1).reshape(grid.shape[0], image.shape[1], *size)


def _sample(image: Tensor, grid: Tensor, mode: str, padding: Sequence[str], fill: Tensor | None) -> Tensor:
    """`image [N, C, *in]` at `grid [N, Q, D]`: `[N, C, Q]`, float32 or float64."""
    in_size = image.shape[2:]
    wide = torch.promote_types(grid.dtype, torch.float64 if image.dtype == torch.float64 else torch.float32)
    finite = torch.isfinite(grid).all(-1)
    points = torch.where(finite.unsqueeze(-1), grid, torch.zeros_like(grid)).to(wide)
    positions = to_pixel(points, in_size).clamp(-_FARTHEST, _FARTHEST).unbind(-1)[::-1]

    # Gradients of many samples meet in one pixel: they must be summed in the wide dtype.
    source = image.to(wide) if image.requires_grad else image
    source = source.flatten(2)

    axes = []
    inside = None
    stride = 1
    near = tolerances(grid, in_size).unbind()
    for position, tolerance, count, beyond in zip(
        reversed(positions), near, reversed(in_size), reversed(padding), strict=True
    ):
        axis = []
        weight_inside = None
        for index, weight in taps(position, tolerance, mode):
            index, valid = read_index(index, count, beyond)
            if valid is not None:
                valid = valid.to(wide)
                weight = valid if weight is None else weight * valid
                weight_inside = weight if weight_inside is None else weight_inside + weight
            axis.append((index.long() * stride, weight))
        if weight_inside is not None:
            inside = weight_inside if inside is None else inside * weight_inside
        axes.insert(0, axis)
        stride = stride * count

    total = None
    for combination in product(*axes):
        index, weight = combination[0]
        for next_index, next_weight in combination[1:]:
            index = index + next_index
            if next_weight is not None:
                weight = next_weight if weight is None else weight * next_weight
        value = source.gather(2, index.unsqueeze(1).expand(-1, source.shape[1], -1)).to(wide)
        if weight is not None:
            value = value * weight.unsqueeze(1)
        total = value if total is None else total + value
    assert total is not None

    background = torch.zeros((), dtype=wide, device=image.device)
    if fill is not None:
        background = fill.to(wide).reshape(-1, 1)
        outside = torch.zeros_like(total[:, :1]) if inside is None else (1 - inside).unsqueeze(1)
        total = total + background * outside
    return torch.where(finite.unsqueeze(1), total, background)
