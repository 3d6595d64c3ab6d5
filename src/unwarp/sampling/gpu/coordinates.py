"""The kernel that gives the gradient of what placed the samples; its programs are like those of reading.py."""

import triton
import triton.language as tl

from unwarp.sampling.gpu.boxes import BOX_X, count_pieces, find_box, take
from unwarp.sampling.gpu.locate import (
    apply_row,
    depth,
    horizon_bound,
    in_pixels,
    kernel,
    load_entries,
    locate,
    pixels_in,
)
from unwarp.sampling.gpu.probes import load_footprints, probe, shrinking
from unwarp.sampling.gpu.reading import AT_ONCE, load_cells, load_taps
from unwarp.sampling.gpu.taps import are_inside, find_cells, find_taps, offset_of, slope, weight_of


@kernel
def grad_coordinates(
    image,
    grad_out,
    coordinates,
    fill,
    result,
    into,
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
    at_change,
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
    over_x,
    over_y,
    programs,
    NDIM: tl.constexpr,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    FOOTPRINTS: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    PRECISION: tl.constexpr,
    FILLED: tl.constexpr,
    SCATTERS: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    CELLS: tl.constexpr,
    DENSE: tl.constexpr,
    DEPTH: tl.constexpr,
    SINGLE: tl.constexpr,
):
    """Gradient of what placed the samples: see `read` for its `programs`.

    Of points, `result [N K, count, D]`; of footprints, `[N K, count, D, D+1]`; of matrices, what each program adds to
    it: `[N K, programs, rows, D+1]`.
    With `SCATTERS` the gradient of an image without gaps is added to `into`, too, as `image.scatter` does; in
    boxes, neighbours of a row join what they give to the same pixels.
    """
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    over = (over_x, over_y)
    image_strides = (1 if DENSE else image_x, image_y, image_z)
    number = tl.program_id(0) // programs
    pull = number.to(tl.int64)
    n = (number // maps).to(tl.int64)
    at = coordinates + pull * at_map
    strides = (at_map, at_row, at_column, at_change)
    source = image + n * image_n
    gradient = grad_out + pull * grad_map
    pixels = pixels_in(in_size)
    target = into + n * channels * pixels
    some = 1 if SINGLE else channels
    entries = load_entries(at, strides, in_size, out_size, LINEAR, PROJECTIVE, W)
    sums = ()
    for _i in tl.static_range((NDIM + PROJECTIVE) * (NDIM + 1)):
        sums = sums + (tl.zeros([BLOCK], W),)
    for piece in range(tl.program_id(0) % programs, count_pieces(count, out_size, DEPTH, BLOCK), programs):
        corner, box_inside = find_box(piece, entries, in_size, out_size, over, DEPTH, W)
        for step in range(DEPTH if DEPTH else 1):
            samples, mask, centered = take(piece, step, corner, count, out_size, over, LINEAR, DEPTH, BLOCK, INDEX, W)
            given = gradient + samples * grad_q
            if FOOTPRINTS:
                steps, positions = load_footprints(at, strides, samples, mask, in_size, W)
                cells, counts, probes = shrinking(steps, NDIM, W)
                totals = ()
                for _i in tl.static_range(NDIM * (NDIM + 1)):
                    totals = totals + (tl.zeros([BLOCK], W),)
                for number in range(probes):
                    share, places, probed = probe(steps, positions, cells, counts, number, W)
                    offsets, weights, slopes, _, finite = find_taps(
                        probed, in_size, image_strides, PRECISION, MODE, PADDING, INDEX, W
                    )
                    along = slopes_along(
                        source, image_c, given, grad_c, share, fill, fill_c, target, pixels, some, offsets, weights,
                        slopes, mask & finite, FILLED, SCATTERS, W, UNROLL,
                    )  # fmt: skip
                    totals = add_products(totals, along, places, mask & finite)
                footprint = result + (pull * count + samples) * (NDIM * (NDIM + 1))
                for k in tl.static_range(NDIM * (NDIM + 1)):
                    of_change = totals[k] * (in_size[k // (NDIM + 1)].to(W) * 0.5)
                    tl.store(footprint + k, of_change.to(result.dtype.element_ty), mask=mask)
            else:
                positions = locate(entries, at, strides, samples, centered, mask, in_size, LINEAR, PROJECTIVE, INDEX, W)
                if CELLS:
                    if box_inside if DEPTH else are_inside(positions, in_size, W):
                        along, seen = slopes_of_cells(
                            source, image_c, given, grad_c, target, pixels, some, positions, mask, in_size,
                            image_strides, PRECISION, SCATTERS, DEPTH, INDEX, W, UNROLL,
                        )  # fmt: skip
                    else:
                        along, seen = slopes_of_taps(
                            source, image_c, given, grad_c, fill, fill_c, target, pixels, some, positions, mask,
                            in_size, image_strides, PRECISION, MODE, PADDING, FILLED, SCATTERS, INDEX, W, UNROLL,
                        )  # fmt: skip
                else:
                    along, seen = slopes_of_taps(
                        source, image_c, given, grad_c, fill, fill_c, target, pixels, some, positions, mask, in_size,
                        image_strides, PRECISION, MODE, PADDING, FILLED, SCATTERS, INDEX, W, UNROLL,
                    )  # fmt: skip
            if LINEAR:
                if PROJECTIVE:
                    along = through_division(entries, centered, along, in_size, W)
                sums = add_products(sums, along, centered, seen)
            elif not FOOTPRINTS:
                point = result + pull * count * NDIM + samples * NDIM
                for d in tl.static_range(NDIM):
                    of_point = tl.where(seen, along[d], 0.0) * (in_size[d].to(W) * 0.5)
                    tl.store(point + d, of_point.to(result.dtype.element_ty), mask=mask)
    if LINEAR:
        matrix = result + tl.program_id(0).to(tl.int64) * ((NDIM + PROJECTIVE) * (NDIM + 1))
        for row in tl.static_range(NDIM + PROJECTIVE):
            for column in tl.static_range(NDIM + 1):
                entry = in_pixels(tl.sum(sums[row * (NDIM + 1) + column]), row, column, in_size, out_size, W)
                tl.store(matrix + row * (NDIM + 1) + column, entry.to(result.dtype.element_ty))


@triton.jit
def beside(values, by: tl.constexpr):
    """What the sample so many places on in its row of BOX_X has; at the ends, what one of the row has."""
    rows: tl.constexpr = values.shape[0] // BOX_X
    lanes = (tl.arange(0, BOX_X) + by + BOX_X) % BOX_X
    at = tl.broadcast_to(lanes[None, :], [rows, BOX_X])
    return tl.reshape(tl.gather(tl.reshape(values, [rows, BOX_X]), at, 1), [rows * BOX_X])


@triton.jit
def slopes_of_cells(
    source,
    image_c,
    gradient,
    grad_c,
    target,
    pixels,
    channels,
    positions,
    mask,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    SCATTERS: tl.constexpr,
    DEPTH: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """`slopes_along` of linear samples that `are_inside`, and which samples count."""
    offsets, weights = find_cells(positions, in_size, image_strides, PRECISION, INDEX, W)
    step = image_strides[0]
    zero = tl.zeros_like(weights[0][0])
    along = (zero, zero, zero)[: len(offsets)]
    alone = mask
    if SCATTERS and DEPTH:
        # Where the next sample of a row reads the next cell, it adds what both give to the pixels between.
        cells = offset_of(offsets, 0)
        lanes = tl.arange(0, cells.shape[0]) % BOX_X
        follows = mask & (lanes > 0) & (beside(cells, -1) + step == cells)
        alone = (lanes == BOX_X - 1) | (beside(follows.to(tl.int32), 1) == 0)
    for _ in tl.range(channels, loop_unroll_factor=UNROLL):
        given = tl.load(gradient, mask=mask, other=0).to(W)
        values = load_cells(source, offsets, step, W)
        added = ()
        for d in tl.static_range(len(offsets)):
            added = added + (along[d] + slope(values, weights, d) * given,)
        along = added
        if SCATTERS:
            for k in tl.static_range(0, len(values), 2):
                at = target + offset_of(offsets, k)
                left = weight_of(weights, weights, k, -1) * given
                right = weight_of(weights, weights, k + 1, -1) * given
                if DEPTH:
                    left += tl.where(follows, beside(right, -1), 0.0)
                tl.atomic_add(at, left, mask=mask & (left != 0), sem="relaxed")
                tl.atomic_add(at + step, right, mask=mask & (right != 0) & alone, sem="relaxed")
        source += image_c
        gradient += grad_c
        target += pixels
    return along, mask


@triton.jit
def slopes_of_taps(
    source,
    image_c,
    gradient,
    grad_c,
    fill,
    fill_c,
    target,
    pixels,
    channels,
    positions,
    mask,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    FILLED: tl.constexpr,
    SCATTERS: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """`slopes_along` of samples anywhere, and which samples count."""
    offsets, weights, slopes, _, finite = find_taps(
        positions, in_size, image_strides, PRECISION, MODE, PADDING, INDEX, W
    )
    seen = mask & finite
    along = slopes_along(
        source, image_c, gradient, grad_c, 1.0, fill, fill_c, target, pixels, channels, offsets, weights, slopes, seen,
        FILLED, SCATTERS, W, UNROLL,
    )  # fmt: skip
    return along, seen


@triton.jit
def slopes_along(
    source,
    image_c,
    gradient,
    grad_c,
    share,
    fill,
    fill_c,
    target,
    pixels,
    channels,
    offsets,
    weights,
    slopes,
    mask,
    FILLED: tl.constexpr,
    SCATTERS: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """For each axis, the derivative with respect to the position, times the given gradient and summed over channels.

    Only a `share` of what is given counts. With `SCATTERS`, it is added to the pixels that have been read, from
    `target` on.
    """
    ndim: tl.constexpr = len(offsets)
    zero = weights[0][0] * 0
    along = (zero, zero, zero)[:ndim]
    for _ in tl.range(channels, loop_unroll_factor=UNROLL):
        given = tl.load(gradient, mask=mask, other=0).to(W) * share
        background = tl.load(fill).to(W) if FILLED else 0.0
        along = add_slopes(along, source, offsets, weights, slopes, given, background, W)
        if SCATTERS:
            for k in tl.static_range(len(offsets[0]) ** ndim):
                weight = weight_of(weights, slopes, k, -1)
                at = target + offset_of(offsets, k)
                tl.atomic_add(at, weight * given, mask=mask & (weight != 0), sem="relaxed")
        source += image_c
        gradient += grad_c
        fill += fill_c
        target += pixels
    return along


@triton.jit
def add_slopes(along, source, offsets, weights, slopes, given, background, W: tl.constexpr):
    """Adds to `along` what one channel contributes."""
    taps: tl.constexpr = len(offsets[0]) ** len(offsets)
    for first in tl.static_range(0, taps, AT_ONCE):
        values = load_taps(source, offsets, first, min(AT_ONCE, taps - first))
        for k in tl.static_range(len(values)):
            share = given * (values[k].to(W) - background)
            added = ()
            for d in tl.static_range(len(along)):
                added = added + (along[d] + weight_of(weights, slopes, first + k, d) * share,)
            along = added
    return along


@triton.jit
def add_products(sums, along, centered, mask):
    """Adds each of `along` times (x, y, z, 1), row by row, where the mask is."""
    added = ()
    columns: tl.constexpr = len(centered) + 1
    for k in tl.static_range(len(sums)):
        product = tl.where(mask, along[k // columns], 0.0)
        if k % columns < len(centered):
            product = product * centered[k % columns]
        added = added + (sums[k] + product,)
    return added


@triton.jit
def through_division(entries, centered, along, in_size, W: tl.constexpr):
    """From gradients of positions to those of the coordinates before the division by w, and of w."""
    ahead, scale = depth(entries, centered, len(in_size), W)
    before = ()
    of_w = scale * 0
    for d in tl.static_range(len(in_size)):
        position = apply_row(entries, d, centered, 0.0) * scale
        # Beyond the horizon, those that lie nearer than the bound were moved onto it.
        moves = ahead | (tl.abs(position) >= horizon_bound(in_size[d], W))
        moved = tl.where(moves, along[d] * scale, 0.0)
        before = before + (moved,)
        of_w -= tl.where(ahead, moved * position, 0.0)
    return before + (of_w,)
