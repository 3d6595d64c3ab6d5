"""The kernels that read an image, and that give the gradient of what placed the samples.

A program takes a block of samples of one map; it finds what they read once, then goes through the channels.
"""

import triton
import triton.language as tl

from unwarp.sampling.gpu.locate import (
    apply_row,
    depth,
    from_center,
    horizon_bound,
    in_pixels,
    kernel,
    load_matrix,
    locate,
    unravel,
)
from unwarp.sampling.gpu.taps import find_taps, offset_of, weight_of


@triton.jit
def round_even(value, W: tl.constexpr):
    """To the nearest integer, halves to the even one; for magnitudes up to 2^22, or 2^51 in float64."""
    magic: tl.constexpr = 12582912.0 if W == tl.float32 else 6755399441055744.0
    return (value + magic) - magic


@kernel
def read(
    image,
    coordinates,
    fill,
    out,
    image_n,
    image_c,
    image_x,
    image_y,
    image_z,
    at_map,
    at_row,
    at_column,
    fill_c,
    in_x,
    in_y,
    in_z,
    out_x,
    out_y,
    out_z,
    channels,
    maps,
    count,
    NDIM: tl.constexpr,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    PRECISION: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`image` at the samples; `out [N K, C, count]` is without gaps. Arguments ending in an axis are its strides."""
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    blocks = tl.cdiv(count, BLOCK)
    pull = (tl.program_id(0) // blocks).to(tl.int64)
    samples = (tl.program_id(0) % blocks).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    mask = samples < count
    at = coordinates + pull * at_map
    strides = (at_map, at_row, at_column)
    positions = locate(at, strides, samples, mask, in_size, out_size, LINEAR, PROJECTIVE, INDEX, W)
    offsets, weights, slopes, inside, finite = find_taps(
        positions, in_size, (image_x, image_y, image_z), PRECISION, MODE, PADDING, INDEX, W
    )
    source = image + pull // maps * image_n
    target = out + pull * channels * count + samples
    for _ in range(channels):
        total = tl.zeros([BLOCK], W)
        for k in tl.static_range(len(offsets[0]) ** NDIM):
            value = tl.load(source + offset_of(offsets, k), mask=mask & finite, other=0)
            total += weight_of(weights, slopes, k, -1) * value.to(W)
        if FILLED:
            total += tl.load(fill).to(W) * (1 - inside)
        if out.dtype.element_ty == tl.uint8:
            total = tl.minimum(tl.maximum(round_even(total, W), 0.0), 255.0)
        tl.store(target, total.to(out.dtype.element_ty), mask=mask)
        source += image_c
        target += count
        fill += fill_c


@kernel
def grad_coordinates(
    image,
    grad_out,
    coordinates,
    fill,
    result,
    image_n,
    image_c,
    image_x,
    image_y,
    image_z,
    grad_map,
    grad_c,
    grad_q,
    at_map,
    at_row,
    at_column,
    fill_c,
    in_x,
    in_y,
    in_z,
    out_x,
    out_y,
    out_z,
    channels,
    maps,
    count,
    NDIM: tl.constexpr,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    PRECISION: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of what placed the samples.

    Of points, `result [N K, count, D]`; of matrices, what each block adds to it: `[N K, blocks, rows, D+1]`.
    """
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    blocks = tl.cdiv(count, BLOCK)
    pull = (tl.program_id(0) // blocks).to(tl.int64)
    samples = (tl.program_id(0) % blocks).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    mask = samples < count
    at = coordinates + pull * at_map
    strides = (at_map, at_row, at_column)
    positions = locate(at, strides, samples, mask, in_size, out_size, LINEAR, PROJECTIVE, INDEX, W)
    offsets, weights, slopes, _, finite = find_taps(
        positions, in_size, (image_x, image_y, image_z), PRECISION, MODE, PADDING, INDEX, W
    )
    source = image + pull // maps * image_n
    gradient = grad_out + pull * grad_map + samples * grad_q
    zero = tl.zeros([BLOCK], W)
    along = (zero, zero, zero)[:NDIM]
    for _ in range(channels):
        given = tl.load(gradient, mask=mask & finite, other=0).to(W)
        background = tl.load(fill).to(W) if FILLED else 0.0
        for k in tl.static_range(len(offsets[0]) ** NDIM):
            value = tl.load(source + offset_of(offsets, k), mask=mask & finite, other=0).to(W)
            share = given * (value - background)
            added = ()
            for d in tl.static_range(NDIM):
                added = added + (along[d] + weight_of(weights, slopes, k, d) * share,)
            along = added
        source += image_c
        gradient += grad_c
        fill += fill_c

    if LINEAR:
        entries = load_matrix(at, strides, in_size, out_size, PROJECTIVE, W)
        centered = from_center(unravel(samples, out_size), out_size, W)
        if PROJECTIVE:
            along = through_division(entries, centered, along, in_size, W)
        target = result + tl.program_id(0).to(tl.int64) * ((NDIM + PROJECTIVE) * (NDIM + 1))
        for row in tl.static_range(NDIM + PROJECTIVE):
            moved = tl.where(mask, along[row], 0.0)
            for column in tl.static_range(NDIM + 1):
                entry = tl.sum(moved * centered[column]) if column < NDIM else tl.sum(moved)
                tl.store(target + row * (NDIM + 1) + column, in_pixels(entry, row, column, in_size, out_size, W))
    else:
        target = result + pull * count * NDIM + samples * NDIM
        for d in tl.static_range(NDIM):
            tl.store(target + d, (along[d] * (in_size[d].to(W) * 0.5)).to(result.dtype.element_ty), mask=mask)


@triton.jit
def through_division(entries, centered, along, in_size, W: tl.constexpr):
    """From gradients of positions to those of the coordinates before the division by w, and of w."""
    ahead, scale = depth(entries, centered, len(in_size), W)
    before = ()
    of_w = scale * 0
    for d in tl.static_range(len(in_size)):
        position = apply_row(entries, d, centered) * scale
        # Beyond the horizon, those that lie nearer than the bound were moved onto it.
        moves = ahead | (tl.abs(position) >= horizon_bound(in_size[d], W))
        moved = tl.where(moves, along[d] * scale, 0.0)
        before = before + (moved,)
        of_w -= tl.where(ahead, moved * position, 0.0)
    return before + (of_w,)
