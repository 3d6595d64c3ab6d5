"""Which pixels samples read along an axis, and with which weights: the twin of modes.py. Device functions."""

from collections.abc import Sequence

import triton
import triton.language as tl

from unwarp.sampling import modes
from unwarp.sampling.gpu.locate import FARTHEST

SLOPE = tl.constexpr(modes.CUBIC_SLOPE)
MOST_TOLERANCE = tl.constexpr(modes.MOST_TOLERANCE)
BORDER = tl.constexpr(modes.PADDINGS.index("border"))
REFLECTION = tl.constexpr(modes.PADDINGS.index("reflection"))
WRAP = tl.constexpr(modes.PADDINGS.index("wrap"))
# Half of the most taps: so many pixels beyond a picture, samples read none of it.
BEYOND = tl.constexpr(3.0)
# 1.5 * 2^23 and its bits: float32 has no fractions there.
LARGE = tl.constexpr(12582912.0)
LARGE_BITS = tl.constexpr(0x4B400000)
# Paddings of all axes are one number, with a digit in this base for each: not all of Triton takes tuples of words.
PADDING_BASE = tl.constexpr(len(modes.PADDINGS))


def padding_code(padding: Sequence[str]) -> int:
    """One number for the words of all axes, in the order z, y, x."""
    code = 0
    for word in padding:
        code = code * PADDING_BASE.value + modes.PADDINGS.index(word)
    return code


@triton.jit
def tolerance_of(extent, PRECISION: tl.constexpr, W: tl.constexpr):
    """How far rounding may have moved a position along an axis of so many pixels; see modes.py."""
    return tl.minimum(extent.to(W) * PRECISION, MOST_TOLERANCE)


@triton.jit
def settle(position, tolerance):
    """A position that rounding alone may have moved off a pixel's center goes back there."""
    center = tl.floor(position + 0.5)
    return tl.where(tl.abs(center - position) <= tolerance, center, position)


@triton.jit
def spline_weights(fraction, DEGREE: tl.constexpr):
    """Weights of the B-splines at `fraction` past a knot, and their derivatives (Cox and de Boor's recursion)."""
    weights = (fraction * 0 + 1,)
    slopes = ()
    for j in tl.static_range(1, DEGREE + 1):
        if j == DEGREE:
            slopes = (-weights[0],)
            for i in tl.static_range(1, DEGREE):
                slopes = slopes + (weights[i - 1] - weights[i],)
            slopes = slopes + (weights[DEGREE - 1],)
        saved = fraction * 0
        raised = ()
        for r in tl.static_range(j):
            share = weights[r] * (1 / j)
            raised = raised + (saved + (r + 1 - fraction) * share,)
            saved = (fraction + (j - r - 1)) * share
        weights = raised + (saved,)
    return weights, slopes


@triton.jit
def cubic_near(x):
    """Keys' convolution within a pixel, and its derivative."""
    return ((SLOPE + 2) * x - (SLOPE + 3)) * x * x + 1, (3 * (SLOPE + 2) * x - 2 * (SLOPE + 3)) * x


@triton.jit
def cubic_far(x):
    """Keys' convolution between one and two pixels, and its derivative."""
    return ((x - 5) * x + 8) * x * SLOPE - 4 * SLOPE, ((3 * x - 10) * x + 8) * SLOPE


@triton.jit
def weigh(position, tolerance, MODE: tl.constexpr):
    """The first pixel that a sample at `position` reads, the weights of it and those after it, and their slopes.

    The slopes are derivatives with respect to the position; where a weight has a corner, that to the right.
    """
    if MODE == "nearest":
        first = tl.floor(position + (0.5 + tolerance))
        weights = (position * 0 + 1,)
        slopes = (position * 0,)
    else:
        # As `settle`, and less: what rounding may have moved below a pixel's center is in that pixel's cell.
        first = tl.floor(position + tolerance)
        fraction = position - first
        fraction = tl.where(fraction <= tolerance, 0.0, fraction)
        if MODE == "linear":
            weights = (1 - fraction, fraction)
            slopes = (fraction * 0 - 1, fraction * 0 + 1)
        elif MODE == "cubic":
            first = first - 1
            w0, s0 = cubic_far(1 + fraction)
            w1, s1 = cubic_near(fraction)
            w2, s2 = cubic_near(1 - fraction)
            w3, s3 = cubic_far(2 - fraction)
            weights = (w0, w1, w2, w3)
            slopes = (s0, s1, -s2, -s3)
        elif MODE == "spline2":
            position = settle(position, tolerance)
            first = tl.floor(position + 0.5) - 1
            weights, slopes = spline_weights(position + 0.5 - (first + 1), 2)
        elif MODE == "spline3":
            first = first - 1
            weights, slopes = spline_weights(fraction, 3)
        elif MODE == "spline4":
            position = settle(position, tolerance)
            first = tl.floor(position + 0.5) - 2
            weights, slopes = spline_weights(position + 0.5 - (first + 2), 4)
        else:
            first = first - 2
            weights, slopes = spline_weights(fraction, 5)
    return first, weights, slopes


@triton.jit
def fold(index, count, PADDING: tl.constexpr):
    """Where a tap reads, in [0, count), and whether what it reads is in the picture or stands for it."""
    if PADDING == REFLECTION:
        index = index % (2 * count)
        index = tl.where(index < 0, index + 2 * count, index)
        index = tl.minimum(index, 2 * count - 1 - index)
        valid = index >= 0
    elif PADDING == WRAP:
        index = index % count
        index = tl.where(index < 0, index + count, index)
        valid = index >= 0
    else:
        nearest = tl.minimum(tl.maximum(index, 0), count - 1)
        valid = (index == nearest) | (PADDING == BORDER)
        index = nearest
    return index, valid


@triton.jit
def clamp(position, count, PADDING: tl.constexpr, W: tl.constexpr):
    """A position that is safe to turn into an index, and from which samples read what they read from the given one."""
    if PADDING == REFLECTION or PADDING == WRAP:
        result = tl.minimum(tl.maximum(position, -FARTHEST), FARTHEST)
    else:
        result = tl.minimum(tl.maximum(position, -BEYOND), count.to(W) + (BEYOND - 1))
    return result


@triton.jit
def find_taps(
    positions,
    in_size,
    strides,
    PRECISION: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """All that samples read.

    Returns:
        For each axis a tuple over the taps of offsets in elements, one of weights (0 outside the picture) and one of
        slopes; the share of each sample that is in the picture; and which samples are finite. The others, too, have
        taps in the picture, whose values are not theirs.
    """
    finite = tl.abs(positions[0]) < float("inf")
    for d in tl.static_range(1, len(in_size)):
        finite = finite & (tl.abs(positions[d]) < float("inf"))
    offsets = ()
    weights = ()
    slopes = ()
    inside = finite.to(W)
    for d in tl.static_range(len(in_size)):
        position = clamp(positions[d], in_size[d], PADDING // PADDING_BASE**d % PADDING_BASE, W)
        near = position == positions[d]
        first, axis_weights, axis_slopes = weigh(position, tolerance_of(in_size[d], PRECISION, W), MODE)
        axis_inside = tl.zeros_like(first)
        seen_offsets = ()
        seen_weights = ()
        seen_slopes = ()
        for k in tl.static_range(len(axis_weights)):
            index, valid = fold(first.to(INDEX) + k, in_size[d].to(INDEX), PADDING // PADDING_BASE**d % PADDING_BASE)
            weight = tl.where(valid, axis_weights[k], 0.0)
            axis_inside += weight
            seen_offsets = seen_offsets + (index * strides[d],)
            seen_weights = seen_weights + (weight,)
            seen_slopes = seen_slopes + (tl.where(valid & near, axis_slopes[k], 0.0),)
        if PADDING // PADDING_BASE**d % PADDING_BASE < BORDER:  # zeros or constant
            inside = inside * axis_inside
        offsets = offsets + (seen_offsets,)
        weights = weights + (seen_weights,)
        slopes = slopes + (seen_slopes,)
    return offsets, weights, slopes, inside, finite


@triton.jit
def are_inside(positions, in_size, W: tl.constexpr):
    """Whether all of these samples lie between pixels of the picture, none within half a pixel of its last ones."""
    middle = (in_size[0].to(W) - 1.5) * 0.5
    inside = tl.abs(positions[0] - middle) <= middle
    for d in tl.static_range(1, len(in_size)):
        middle = (in_size[d].to(W) - 1.5) * 0.5
        inside = inside & (tl.abs(positions[d] - middle) <= middle)
    return tl.min(inside.to(tl.int32)) == 1


@triton.jit
def floor_and_index(position, tolerance, INDEX: tl.constexpr, W: tl.constexpr):
    """The floor of `position + tolerance`, from 0 to 2^21, as a number and as an index."""
    if W == tl.float32:
        # GPUs round, and convert to whole numbers, at a quarter or less of their usual rate. A large number added to
        # this one leaves no bits for fractions, and its last bits are the index. The tolerance keeps halves away.
        shifted = position + (tolerance - 0.5) + LARGE
        index = (shifted.to(tl.int32, bitcast=True) - LARGE_BITS).to(INDEX)
        first = shifted - LARGE
    else:
        first = tl.floor(position + tolerance)
        index = first.to(INDEX)
    return first, index


@triton.jit
def find_cells(positions, in_size, strides, PRECISION: tl.constexpr, INDEX: tl.constexpr, W: tl.constexpr):
    """What linear samples that `are_inside` read: as `find_taps`, offsets and weights of two taps along each axis.

    Along x, where two taps are neighbours in a row, both offsets are that of the first.
    """
    offsets = ()
    weights = ()
    for d in tl.static_range(len(in_size)):
        tolerance = in_size[d].to(W) * PRECISION
        first, index = floor_and_index(positions[d], tolerance, INDEX, W)
        fraction = positions[d] - first
        fraction = tl.where(fraction <= tolerance, 0.0, fraction)
        start = index * strides[d]
        offsets = offsets + ((start, start + strides[d] if d > 0 else start),)
        weights = weights + ((1 - fraction, fraction),)
    return offsets, weights


@triton.jit
def between(values, weights):
    """What lies between each two values."""
    result = ()
    for i in tl.static_range(len(values) // 2):
        result = result + (weights[0] * values[2 * i] + weights[1] * values[2 * i + 1],)
    return result


@triton.jit
def slope(values, weights, ALONG: tl.constexpr):
    """The derivative, along an axis, of what lies between the 2^D corners of cells."""
    for d in tl.static_range(len(weights)):
        if d == ALONG:
            differences = ()
            for i in tl.static_range(len(values) // 2):
                differences = differences + (values[2 * i + 1] - values[2 * i],)
            values = differences
        else:
            values = between(values, weights[d])
    return values[0]


@triton.jit
def offset_of(offsets, k: tl.constexpr):
    """The offset of combination `k` of one tap along each axis."""
    total = offsets[0][k % len(offsets[0])]
    for d in tl.static_range(1, len(offsets)):
        total = total + offsets[d][k // len(offsets[0]) ** d % len(offsets[0])]
    return total


@triton.jit
def weight_of(weights, slopes, k: tl.constexpr, ALONG: tl.constexpr):
    """The weight of combination `k`, or its derivative along axis `ALONG`; -1 for none."""
    total = slopes[0][k % len(weights[0])] if ALONG == 0 else weights[0][k % len(weights[0])]
    for d in tl.static_range(1, len(weights)):
        if ALONG == d:
            total = total * slopes[d][k // len(weights[0]) ** d % len(weights[0])]
        else:
            total = total * weights[d][k // len(weights[0]) ** d % len(weights[0])]
    return total
