"""The probes of a footprint, whose mean a sample is: the twin of antialias.py. Device functions."""

import triton
import triton.language as tl

from unwarp.sampling import antialias
from unwarp.sampling.gpu.locate import divide

MOST_PROBES = tl.constexpr(antialias.MOST_PROBES)
WHOLE = tl.constexpr(antialias.WHOLE)
MOST_SHRINK = tl.constexpr(antialias.MOST_SHRINK)


@triton.jit
def load_footprints(footprints, strides, samples, mask, in_size, W: tl.constexpr):
    """Of each sample the change per output pixel in pixels, row by row, and the position; not a number where unknown.

    `strides` are those of maps, footprints, rows and columns.
    """
    ndim: tl.constexpr = len(in_size)
    steps = ()
    positions = ()
    known = mask
    for d in tl.static_range(ndim):
        extent = in_size[d].to(W)
        for column in tl.static_range(ndim + 1):
            at = footprints + samples * strides[1] + d * strides[2] + column * strides[3]
            entry = tl.load(at, mask=mask, other=0).to(W)
            known = known & (tl.abs(entry) < float("inf"))
            if column < ndim:
                steps = steps + (entry * extent * 0.5,)
            else:
                positions = positions + ((entry * extent + (extent - 1)) * 0.5,)
    known_steps = ()
    for k in tl.static_range(ndim * ndim):
        known_steps = known_steps + (tl.where(known, steps[k], 0.0),)
    known_positions = ()
    for d in tl.static_range(ndim):
        known_positions = known_positions + (tl.where(known, positions[d], float("nan")),)
    return known_steps, known_positions


@triton.jit
def shrinking(steps, ndim: tl.constexpr, W: tl.constexpr):
    """Into how many cells an output pixel is cut along each axis of the output, the last of them perhaps a part of one.

    Also how many of them there are along each axis, whole or not, and of all in the sample of this block that has most.
    """
    cells = ()
    for axis in tl.static_range(ndim):
        squared = steps[axis] * steps[axis]
        for d in tl.static_range(1, ndim):
            squared += steps[d * ndim + axis] * steps[d * ndim + axis]
        length = tl.maximum(tl.sqrt(tl.minimum(squared, MOST_SHRINK * MOST_SHRINK)), 1.0)
        cells = cells + (length,)
    most = most_along_an_axis(cells)
    found = ()
    counts = ()
    total = cells[0].to(tl.int32) * 0 + 1
    for axis in tl.static_range(ndim):
        length = tl.minimum(cells[axis], most)
        nearest = tl.floor(length + 0.5)
        length = tl.where(tl.abs(length - nearest) <= WHOLE, nearest, length)
        found = found + (length,)
        counts = counts + (tl.ceil(length).to(tl.int32),)
        total = total * counts[axis]
    return found, counts, tl.max(total)


@triton.jit
def most_along_an_axis(cells):
    """Cut to so many, the largest along each axis make at most `MOST_PROBES`; see antialias.py."""
    ndim: tl.constexpr = len(cells)
    volume = cells[0]
    for axis in tl.static_range(1, ndim):
        volume = volume * cells[axis]
    most = volume * 0 + MOST_PROBES ** (1 / ndim)
    for _ in tl.static_range(ndim - 1):
        left = volume * 0 + MOST_PROBES
        larger = volume * 0
        for axis in tl.static_range(ndim):
            within = cells[axis] <= most
            left = left / tl.where(within, cells[axis], 1.0)
            larger = larger + tl.where(within, 0.0, 1.0)
        most = tl.exp2(tl.log2(left) / tl.maximum(larger, 1.0))
    return tl.where(volume > MOST_PROBES, most, MOST_SHRINK)


@triton.jit
def probe(steps, positions, cells, counts, number, W: tl.constexpr):
    """One probe of each sample: how much it weighs, its place in the output pixel, and its position in the picture.

    Each sample has its own order of cells, so that a block whose samples are long along different axes takes no more
    probes than one of them has. A number beyond all of a sample's weighs nothing.
    """
    ndim: tl.constexpr = len(positions)
    share = cells[0] * 0 + 1
    places = ()
    rest = counts[0] * 0 + number
    for axis in tl.static_range(ndim):
        cell = rest
        if axis < ndim - 1:
            cell = rest % counts[axis]
            rest = rest // counts[axis]
        begin = tl.minimum(divide(cell.to(W), cells[axis], W), 1.0)
        end = tl.minimum(divide((cell + 1).to(W), cells[axis], W), 1.0)
        share = share * (end - begin)
        places = places + ((begin + end) * 0.5 - 0.5,)
    probed = ()
    for d in tl.static_range(ndim):
        position = positions[d]
        for axis in tl.static_range(ndim):
            position = position + steps[d * ndim + axis] * places[axis]
        probed = probed + (position,)
    return share, places, probed
