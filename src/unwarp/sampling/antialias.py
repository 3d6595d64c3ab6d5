"""Antialiasing: where a map shrinks, a sample is the mean over the part of the picture that its output pixel covers.

A *footprint* is a sample's point with its change per output pixel along each axis: `[..., D, D+1]`, the changes (in
columns x, y, z) before the point, all in normalised input coordinates. The output pixel is cut into cells that are one
input pixel long, the last along each axis as long as what is left; a probe in the middle of each cell reads the
picture, and the sample is their mean, weighted by the cells' sizes. Shrinking by a whole number thus gives the mean of
exactly the pixels covered, and where nothing shrinks there is one probe, the sample itself. Gradients take the probes'
places within the output pixel as given.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from unwarp.coordinates import extents

# A sample has at most about this many probes (64 × 64, 16 × 16 × 16, 4096 × 1): beyond, they lie farther apart than a
# pixel along the axes that have the most.
MOST_PROBES = 4096.0
# A shrinking this close to a whole number is that number: rounding shall not cost another row of probes.
WHOLE = 1e-4
# Input pixels per output pixel; more are not told apart.
MOST_SHRINK = 1e6


def footprints_of_grid(grid: Tensor, ndim: int) -> Tensor:
    """Footprints `[..., *out, D, D+1]` of a `grid [..., *out, D]`, by differences between neighbouring samples."""
    steps = [_difference(grid, -2 - axis) for axis in range(ndim)]
    return torch.stack([*steps, grid], dim=-1)


def footprints_of_map(grid: Tensor, jacobian: Tensor, size: Sequence[int]) -> Tensor:
    """Footprints `[..., *out, D, D+1]` of a map's `grid [..., *out, D]` and `jacobian [..., *out, D, D]` there."""
    steps = jacobian * (2 / extents(jacobian, size))
    return torch.cat([steps, grid.unsqueeze(-1)], dim=-1)


def probes(footprints: Tensor, in_size: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights `[...]` and normalised points `[..., D]` of the probes of `footprints [..., D, D+1]`, one by one.

    How many there are depends on the footprints, of which there must be one at least.
    """
    if not torch.compiler.is_compiling() and torch._C._is_tracing():
        raise NotImplementedError("antialias: torch.jit.trace would keep the number of probes; torch.export can")
    ndim = len(in_size)
    steps, point = footprints[..., :-1], footprints[..., -1]
    known = torch.isfinite(footprints).all(-1).all(-1)
    point = torch.where(known.unsqueeze(-1), point, torch.full_like(point, torch.nan))
    steps = torch.where(known[..., None, None], steps, torch.zeros_like(steps))

    half = extents(steps, in_size).unsqueeze(-1) / 2
    shrink = _bounded((steps.detach() * half).square().sum(-2).clamp_max(MOST_SHRINK**2).sqrt().clamp_min(1))
    nearest = shrink.round()
    shrink = torch.where((shrink - nearest).abs() <= WHOLE, nearest, shrink)

    counts = shrink.ceil()
    for number in range(int(_unmapped(counts.prod(-1)).amax())):
        # The cells of each sample in its own order: the longest of all along each axis need not meet in one.
        cells, rest = [], torch.full_like(counts[..., 0], number)
        for axis in range(ndim):
            last = axis == ndim - 1  # a number beyond all cells of a sample is none of them
            cells.append(rest if last else rest % counts[..., axis])
            rest = (rest / counts[..., axis]).floor()
        cell = torch.stack(cells, dim=-1)
        begin = (cell / shrink).clamp_max(1)
        end = ((cell + 1) / shrink).clamp_max(1)
        offset = (begin + end) / 2 - 0.5
        yield (end - begin).prod(-1), point + (steps * offset.unsqueeze(-2)).sum(-1)


def _unmapped(values: Tensor) -> Tensor:
    """Those of all calls at once, where torch.func.vmap and its kin show only one."""
    while is_functorch_wrapped_tensor(values):
        values = get_unwrapped(values)
    return values


def _bounded(shrink: Tensor) -> Tensor:
    """`shrink [..., D]`, of which the largest are cut until their product is `MOST_PROBES`."""
    ndim = shrink.shape[-1]
    most = torch.full_like(shrink[..., :1], MOST_PROBES ** (1 / ndim))
    for _ in range(ndim - 1):
        within = shrink <= most
        left = MOST_PROBES / shrink.where(within, 1).prod(-1, keepdim=True)
        most = left ** (1 / (~within).sum(-1, keepdim=True).clamp_min(1))
    return torch.where(shrink.prod(-1, keepdim=True) > MOST_PROBES, torch.minimum(shrink, most), shrink)


def _difference(grid: Tensor, axis: int) -> Tensor:
    if grid.shape[axis] < 2:
        return torch.zeros_like(grid)
    ahead = grid.diff(dim=axis)
    first, last = ahead.narrow(axis, 0, 1), ahead.narrow(axis, -1, 1)
    between = (ahead.narrow(axis, 0, ahead.shape[axis] - 1) + ahead.narrow(axis, 1, ahead.shape[axis] - 1)) / 2
    return torch.cat([first, between, last], dim=axis)
