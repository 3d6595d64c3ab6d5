"""Which samples of a map a program takes at once: blocks in their order, or, of volumes, boxes. Device functions.

Samples of a box read voxels that lie near each other, so that most come from a cache; whether all are inside the
volume is known from its corners; and from step to step only one coordinate changes.
"""

import triton
import triton.language as tl

from unwarp.sampling.gpu.locate import apply_row, from_center, unravel

# A box is gone through slice by slice, each of a block of so many samples along x and y.
BOX_X = tl.constexpr(32)
BOX_Y = tl.constexpr(4)


@triton.jit
def box_corner(number, size, over, DEPTH: tl.constexpr):
    """Indices (x, y, z) of a box's first sample; `over` holds the reciprocals of how many boxes lie along x and y."""
    boxes = (tl.cdiv(size[0], BOX_X), tl.cdiv(size[1], BOX_Y), tl.cdiv(size[2], DEPTH))
    x, y, z = unravel(tl.cast(number, tl.int32), boxes, over, tl.int32)
    return x * BOX_X, y * BOX_Y, z * DEPTH


@triton.jit
def box_is_inside(entries, corner, in_size, out_size, DEPTH: tl.constexpr, W: tl.constexpr):
    """Whether all samples of a box, those beyond the output too, lie between voxels: `are_inside` of what is read.

    No position is rounded beyond those of the corners, which are computed as it is: each step keeps the order.
    """
    near = from_center(corner, out_size, W)
    far = (near[0] + (BOX_X - 1), near[1] + (BOX_Y - 1), near[2] + (DEPTH - 1))
    inside = True
    for d in tl.static_range(3):
        lowest = ()
        highest = ()
        for j in tl.static_range(3):
            rises = entries[d * 4 + j] > 0
            lowest = lowest + (tl.where(rises, near[j], far[j]),)
            highest = highest + (tl.where(rises, far[j], near[j]),)
        middle = (in_size[d] - 1).to(W) * 0.5
        low = apply_row(entries, d, lowest, middle)
        high = apply_row(entries, d, highest, middle)
        inside = inside & (low >= 0) & (high <= in_size[d].to(W) - 1.5)
    return inside


@triton.jit
def find_box(piece, entries, in_size, out_size, over, DEPTH: tl.constexpr, W: tl.constexpr):
    """The `box_corner` of a piece, and whether the box is inside; of a block neither is known."""
    corner = ()
    inside = False
    if DEPTH:
        corner = box_corner(piece, out_size, over, DEPTH)
        inside = box_is_inside(entries, corner, in_size, out_size, DEPTH, W)
    return corner, inside


@triton.jit
def count_pieces(count, out_size, DEPTH: tl.constexpr, BLOCK: tl.constexpr):
    """How many boxes the samples of one map fill, or how many blocks without `DEPTH`."""
    if DEPTH:
        pieces = tl.cdiv(out_size[0], BOX_X) * tl.cdiv(out_size[1], BOX_Y) * tl.cdiv(out_size[2], DEPTH)
    else:
        pieces = tl.cdiv(count, BLOCK)
    return pieces


@triton.jit
def take(
    piece,
    step,
    corner,
    count,
    out_size,
    over,
    LINEAR: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """A block of samples: their numbers, which of them there are, and for matrices their indices `from_center`.

    With `DEPTH` they are a slice of the box from `corner` on, the one at that step.
    """
    lanes = tl.arange(0, BLOCK)
    centered = ()
    if DEPTH:
        x = (corner[0] + lanes % BOX_X).to(INDEX)
        y = (corner[1] + lanes // BOX_X).to(INDEX)
        z = (corner[2] + step).to(INDEX)
        samples = (z * out_size[1] + y) * out_size[0] + x
        mask = (x < out_size[0]) & (y < out_size[1]) & (z < out_size[2])
        centered = from_center((x, y, z), out_size, W)
    else:
        samples = tl.full([1], BLOCK, INDEX) * piece + lanes
        mask = samples < count
        if LINEAR:
            centered = from_center(unravel(samples, out_size, over, INDEX), out_size, W)
    return samples, mask, centered
