"""Where samples read: positions in pixels, from a matrix or from points in memory. Device functions.

Tuples hold a value per axis in (x, y, z) order, however many there are; loops over them are unrolled. `W` is the
floating-point type that is computed in, `INDEX` the integer type of offsets.
"""

import inspect
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

from unwarp import coordinates

# Far beyond any picture, yet an exact integer in float32 and safe to turn into an index.
FARTHEST = tl.constexpr(1073741824.0)
HORIZON = tl.constexpr(coordinates.HORIZON)


def kernel(function: Callable[..., None]) -> Any:
    """A kernel for which no size, stride or address is a reason to be compiled again."""
    free = [name for name in inspect.signature(function).parameters if name not in function.__annotations__]
    return triton.jit(function, do_not_specialize=free)


def reciprocal(divisor: int) -> int:
    """What `quotient` wants of a divisor from 1 to 2^31: a multiplier of 32 bits, and in the last 6 bits a shift."""
    shift = (divisor - 1).bit_length()
    return -(-(1 << 31 + shift) // divisor) << 6 | shift


@triton.jit
def quotient(number, divisor, by, INDEX: tl.constexpr):
    """`number // divisor` for numbers of at least 0; `by` is the divisor's `reciprocal`.

    GPUs divide whole numbers by a long piece of code. The multiplier is rounded up by less than 2^shift, which moves
    no quotient of 31 bits (Granlund and Montgomery, PLDI 1994).
    """
    if INDEX == tl.int32:
        # Both of 32 bits first, so that one instruction multiplies them.
        product = number.to(tl.uint32).to(tl.uint64) * (by >> 6).to(tl.uint32).to(tl.uint64)
        result = (product >> (31 + (by & 63)).to(tl.uint64)).to(tl.int32)
    else:
        result = number // divisor
    return result


@triton.jit
def unravel(number, size, over, INDEX: tl.constexpr):
    """Along each axis, the index of something numbered row by row; `over` holds the reciprocals of the sizes."""
    indices = ()
    for d in tl.static_range(len(size) - 1):
        rows = quotient(number, size[d], over[d], INDEX)
        indices = indices + (number - rows * size[d],)
        number = rows
    return indices + (number,)


@triton.jit
def pixels_in(size):
    """How many pixels a picture has, in 64 bits."""
    count = size[0].to(tl.int64)
    for d in tl.static_range(1, len(size)):
        count = count * size[d]
    return count


@triton.jit
def from_center(indices, size, W: tl.constexpr):
    """Pixels counted from the middle of the picture."""
    centered = ()
    for d in tl.static_range(len(size)):
        centered = centered + (indices[d].to(W) - (size[d] - 1).to(W) * 0.5,)
    return centered


@triton.jit
def divide(a, b, W: tl.constexpr):
    """Rounded to the nearest: what divides evenly must come out even, or the identity would miss the pixels."""
    if W == tl.float32:
        quotient = tl.div_rn(a, b)
    else:
        quotient = a / b
    return quotient


@triton.jit
def larger(a, b):
    """The larger of two, not a number where one is none, which GPUs' own maximum takes the other for."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def in_pixels(entry, row: tl.constexpr, column: tl.constexpr, in_size, out_size, W: tl.constexpr):
    """An entry of a normalised matrix as that of the matrix from output to input pixels, both counted from the middle.

    A gradient with respect to the latter becomes one with respect to the former in the same way.
    """
    if row < len(in_size):
        entry = entry * in_size[row].to(W)
        if column < len(in_size):
            entry = divide(entry, out_size[column].to(W), W)
        else:
            entry = entry * 0.5
    elif column < len(in_size):
        entry = divide(entry * 2, out_size[column].to(W), W)
    return entry


@triton.jit
def load_matrix(matrix, strides, in_size, out_size, PROJECTIVE: tl.constexpr, W: tl.constexpr):
    """Entries, row by row, of the matrix between pixels of one map; `strides` are those of maps, rows and columns."""
    entries = ()
    for row in tl.static_range(len(in_size) + PROJECTIVE):
        for column in tl.static_range(len(in_size) + 1):
            entry = tl.load(matrix + row * strides[1] + column * strides[2]).to(W)
            entries = entries + (in_pixels(entry, row, column, in_size, out_size, W),)
    return entries


@triton.jit
def apply_row(entries, row: tl.constexpr, centered, shift):
    """One row of a matrix times (x, y, z, 1), and a shift."""
    total = entries[row * (len(centered) + 1) + len(centered)] + shift
    for d in tl.static_range(len(centered)):
        total = tl.fma(entries[row * (len(centered) + 1) + d], centered[d], total)
    return total


@triton.jit
def horizon_bound(size, W: tl.constexpr):
    """How far from the middle, in pixels, points at or beyond the horizon are sent at least."""
    return size.to(W) * (0.5 / HORIZON)


@triton.jit
def depth(entries, centered, ndim: tl.constexpr, W: tl.constexpr):
    """Of a projective map: its last coordinate w, whether a sample lies before the horizon, and 1 / w there."""
    w = apply_row(entries, ndim, centered, 0.0)
    # As a bare number it would be rounded to float32.
    return w > HORIZON, divide(1.0, larger(w, tl.full([1], HORIZON, W)), W)


@triton.jit
def transform(entries, centered, in_size, PROJECTIVE: tl.constexpr, W: tl.constexpr):
    """Positions of samples under a matrix; infinite or not a number where a coordinate is."""
    positions = ()
    if PROJECTIVE:
        ahead, scale = depth(entries, centered, len(in_size), W)
    for d in tl.static_range(len(in_size)):
        middle = (in_size[d] - 1).to(W) * 0.5
        if PROJECTIVE:
            position = apply_row(entries, d, centered, 0.0) * scale
            far = larger(tl.abs(position), horizon_bound(in_size[d], W))
            position = tl.where(ahead, position, tl.where(position < 0, -far, far)) + middle
        else:
            position = apply_row(entries, d, centered, middle)
        positions = positions + (position,)
    return positions


@triton.jit
def load_points(points, strides, samples, mask, in_size, INDEX: tl.constexpr, W: tl.constexpr):
    """Positions of samples at normalised points; `strides` are those of maps, points and axes."""
    positions = ()
    for d in tl.static_range(len(in_size)):
        point = tl.load(points + samples * strides[1] + d * strides[2], mask=mask, other=0).to(W)
        extent = in_size[d].to(W)
        positions = positions + ((point * extent + (extent - 1)) * 0.5,)
    return positions


@triton.jit
def load_entries(
    coordinates, strides, in_size, out_size, LINEAR: tl.constexpr, PROJECTIVE: tl.constexpr, W: tl.constexpr
):
    """What `locate` wants to be loaded once for all samples of a map: a matrix's entries, of points nothing."""
    entries = ()
    if LINEAR:
        entries = load_matrix(coordinates, strides, in_size, out_size, PROJECTIVE, W)
    return entries


@triton.jit
def locate(
    entries,
    coordinates,
    strides,
    samples,
    centered,
    mask,
    in_size,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """Positions of samples of one map, whose coordinates begin at `coordinates`; under a matrix they are `centered`."""
    if LINEAR:
        positions = transform(entries, centered, in_size, PROJECTIVE, W)
    else:
        positions = load_points(coordinates, strides, samples, mask, in_size, INDEX, W)
    return positions
