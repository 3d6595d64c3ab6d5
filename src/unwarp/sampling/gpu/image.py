"""The kernels that give the gradient of the image.

Two ways, and both give the same bits on every run. Under an affine map a pixel *gathers*: it visits the samples around
its own place under the inverse map. In general the samples *scatter* to the pixels they have read, in whole numbers of
64 bits, which add up to the same sum in any order. Float atomics, whose order tells, are the faster variant of the
latter.
"""

import triton
import triton.language as tl

from unwarp.sampling.gpu.boxes import take
from unwarp.sampling.gpu.locate import (
    FARTHEST,
    from_center,
    kernel,
    load_entries,
    load_matrix,
    locate,
    pixels_in,
    transform,
    unravel,
)
from unwarp.sampling.gpu.probes import load_footprints, probe, shrinking
from unwarp.sampling.gpu.taps import find_taps, offset_of, settle, tolerance_of, weigh, weight_of
from unwarp.sampling.gpu.whole_numbers import bits_of, exponent_of, power_of_two

# A map is gathered unless its pixels would visit this many times the samples that they need, or the inverse is not
# to be trusted, or one pixel has more to visit than a loop should take.
_WASTE = tl.constexpr(16)
_CONDITION = tl.constexpr(1000.0)
_MOST_VISITS = tl.constexpr(16384.0)


@triton.jit
def invert(entries, ndim: tl.constexpr):
    """The inverse, row by row, of a matrix's square part, and its determinant; infinite or NaN where it has none."""
    if ndim == 1:
        determinant = entries[0]
        adjugate = (determinant * 0 + 1,)
    elif ndim == 2:
        determinant = entries[0] * entries[4] - entries[1] * entries[3]
        adjugate = (entries[4], -entries[1], -entries[3], entries[0])
    else:
        a, b, c, _, d, e, f, _, g, h, i, _ = entries
        adjugate = (
            e * i - f * h,
            c * h - b * i,
            b * f - c * e,
            f * g - d * i,
            a * i - c * g,
            c * d - a * f,
            d * h - e * g,
            b * g - a * h,
            a * e - b * d,
        )
        determinant = a * adjugate[0] + b * adjugate[3] + c * adjugate[6]
    inverse = ()
    for k in tl.static_range(ndim * ndim):
        inverse = inverse + (adjugate[k] / determinant,)
    return inverse, determinant


@triton.jit
def row_sum(rows, row: tl.constexpr, ndim: tl.constexpr, stride: tl.constexpr):
    """Sum of the magnitudes of a row's first entries."""
    total = tl.abs(rows[row * stride])
    for d in tl.static_range(1, ndim):
        total = total + tl.abs(rows[row * stride + d])
    return total


@triton.jit
def plan(entries, in_size, out_size, PRECISION: tl.constexpr, TAPS: tl.constexpr, W: tl.constexpr):
    """How to gather through one affine map.

    Returns:
        The inverse of its square part; how far, along each output axis, a pixel's samples may lie from its place under
        the inverse; how many there are at most; and whether to gather at all.
    """
    inverse, determinant = invert(entries, len(in_size))
    norm = row_sum(entries, 0, len(in_size), len(in_size) + 1)
    inverse_norm = row_sum(inverse, 0, len(in_size), len(in_size))
    extent = tl.maximum(in_size[0], out_size[0])
    for d in tl.static_range(1, len(in_size)):
        norm = tl.maximum(norm, row_sum(entries, d, len(in_size), len(in_size) + 1))
        inverse_norm = tl.maximum(inverse_norm, row_sum(inverse, d, len(in_size), len(in_size)))
        extent = tl.maximum(extent, tl.maximum(in_size[d], out_size[d]))
    condition = norm * inverse_norm
    # Rounding moves a place by about the condition times that of a coordinate.
    reach = 0.5 * TAPS + 0.01 + 8 * PRECISION * condition * extent.to(W)

    widths = ()
    spans = ()
    visits = norm * 0 + 1
    needed: tl.constexpr = TAPS ** len(in_size)
    for d in tl.static_range(len(in_size)):
        width = reach * row_sum(inverse, d, len(in_size), len(in_size))
        span = tl.minimum(tl.floor(2 * width) + 1, out_size[d].to(W))
        widths = widths + (width,)
        spans = spans + (span,)
        visits = visits * span
    # Where a map shrinks, most pixels have been read by none.
    waste = visits * tl.minimum(tl.abs(determinant), 1.0)
    # False for what is not a number, too.
    gathers = (condition <= _CONDITION) & (visits <= _MOST_VISITS) & (waste <= _WASTE * needed)
    return inverse, widths, spans, gathers


@kernel
def prepare(
    grad_out,
    coordinates,
    fixed,
    limits,
    scatters,
    grad_map,
    grad_c,
    grad_q,
    at_map,
    at_row,
    at_column,
    in_x,
    in_y,
    in_z,
    out_x,
    out_y,
    out_z,
    images,
    channels,
    maps,
    count,
    programs,
    NDIM: tl.constexpr,
    GATHERS: tl.constexpr,
    PRECISION: tl.constexpr,
    TAPS: tl.constexpr,
    LIMBS: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """For images to which samples scatter: clears `fixed [LIMBS, N, C, pixels]` and finds the largest gradient.

    `limits [N]`, zeros before, becomes the bits of that; `scatters [N]` says which images those are, all of them
    unless `GATHERS`. Each of an image's `programs` takes every so many-th block.
    """
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    pixels = channels * pixels_in(in_size)
    values = channels.to(tl.int64) * maps * count
    n = tl.program_id(0) // programs

    scattered = 1
    if GATHERS:
        scattered = 0
        for k in range(maps):
            at = coordinates + (n * maps + k) * at_map
            entries = load_matrix(at, (at_map, at_row, at_column), in_size, out_size, False, W)
            _, _, _, gathers = plan(entries, in_size, out_size, PRECISION, TAPS, W)
            scattered = tl.where(gathers, scattered, 1)
        tl.store(scatters + n, scattered)
    if scattered == 0:
        return
    blocks = tl.cdiv(tl.maximum(pixels, values), BLOCK)
    limit = bits_of(tl.zeros([BLOCK], W), W)
    for block in range(tl.program_id(0) % programs, blocks, programs):
        elements = tl.full([1], BLOCK, tl.int64) * block + tl.arange(0, BLOCK)
        for limb in tl.static_range(LIMBS):
            zeros = tl.zeros([BLOCK], tl.int64)
            tl.store(fixed + limb * images * pixels + n * pixels + elements, zeros, mask=elements < pixels)
        sample = elements % count
        channel = elements // count % channels
        pull = n * maps + elements // count // channels
        address = grad_out + pull * grad_map + channel * grad_c + sample * grad_q
        given = tl.load(address, mask=elements < values, other=0)
        limit = tl.maximum(limit, bits_of(given.to(W), W))
    tl.atomic_max(limits + n, tl.max(limit), sem="relaxed")


@kernel
def scatter(
    grad_out,
    coordinates,
    result,
    limits,
    scatters,
    grad_map,
    grad_c,
    grad_q,
    at_map,
    at_row,
    at_column,
    at_change,
    in_x,
    in_y,
    in_z,
    out_x,
    out_y,
    out_z,
    images,
    channels,
    maps,
    count,
    bits,
    over_x,
    over_y,
    programs,
    at_once,
    NDIM: tl.constexpr,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    FOOTPRINTS: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    PRECISION: tl.constexpr,
    GATHERS: tl.constexpr,
    LIMBS: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Samples add what they are given to the pixels they have read.

    `result` is `[LIMBS, N, C, pixels]` of whole numbers, or `[N, C, pixels]` of floating-point ones where LIMBS is 0.
    A number is a value times 2 to `bits` over a power of two that is above the largest gradient of its image; what it
    leaves goes times 2 to `bits` again to the second limb.
    """
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    over = (over_x, over_y)
    groups = tl.cdiv(channels, at_once)
    number = tl.program_id(0) // (programs * groups)
    pull = number.to(tl.int64)
    first = tl.program_id(0) // programs % groups * at_once
    n = (number // maps).to(tl.int64)
    if GATHERS:
        if tl.load(scatters + n) == 0:
            return
    scale = 1.0
    fraction = 1.0
    if LIMBS > 0:
        exponent, finite_limit = exponent_of(tl.load(limits + n), W)
        if finite_limit == 0:  # no whole number says so; `finish` does
            return
        scale = power_of_two(exponent, W)
        fraction = power_of_two(bits, W)

    pixels = pixels_in(in_size)
    at = coordinates + pull * at_map
    strides = (at_map, at_row, at_column, at_change)
    entries = load_entries(at, strides, in_size, out_size, LINEAR, PROJECTIVE, W)
    for block in range(tl.program_id(0) % programs, tl.cdiv(count, BLOCK), programs):
        samples, mask, centered = take(block, 0, (), count, out_size, over, LINEAR, 0, BLOCK, INDEX, W)
        gradient = grad_out + pull * grad_map + first.to(tl.int64) * grad_c + samples * grad_q
        target = result + (n * channels + first) * pixels
        dense = (1, in_x, in_x.to(INDEX) * in_y)
        some = tl.minimum(at_once, channels - first)
        if FOOTPRINTS:
            steps, positions = load_footprints(at, strides, samples, mask, in_size, W)
            cells, counts, probes = shrinking(steps, NDIM, W)
            for number in range(probes):
                share, _, probed = probe(steps, positions, cells, counts, number, W)
                offsets, weights, slopes, _, finite = find_taps(
                    probed, in_size, dense, PRECISION, MODE, PADDING, INDEX, W
                )
                add_to_pixels(
                    target, pixels, gradient, grad_c, share * scale, fraction, images * channels * pixels, some,
                    offsets, weights, slopes, mask & finite, LIMBS, W, UNROLL,
                )  # fmt: skip
        else:
            positions = locate(entries, at, strides, samples, centered, mask, in_size, LINEAR, PROJECTIVE, INDEX, W)
            offsets, weights, slopes, _, finite = find_taps(
                positions, in_size, dense, PRECISION, MODE, PADDING, INDEX, W
            )
            add_to_pixels(
                target, pixels, gradient, grad_c, scale, fraction, images * channels * pixels, some, offsets, weights,
                slopes, mask & finite, LIMBS, W, UNROLL,
            )  # fmt: skip


@triton.jit
def add_to_pixels(
    target,
    pixels,
    gradient,
    grad_c,
    scale,
    fraction,
    limb,
    channels,
    offsets,
    weights,
    slopes,
    mask,
    LIMBS: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Adds what samples are given, times `scale`, to the pixels they have read; for the rest see `scatter`."""
    for _c in tl.range(channels, loop_unroll_factor=UNROLL):
        given = tl.load(gradient, mask=mask, other=0).to(W) * scale
        for k in tl.static_range(len(offsets[0]) ** len(offsets)):
            weight = weight_of(weights, slopes, k, -1)
            value = weight * given
            to = target + offset_of(offsets, k)
            reached = mask & (weight != 0)
            if LIMBS == 0:
                tl.atomic_add(to, value, mask=reached, sem="relaxed")
            else:
                value = value * fraction
                whole = value.to(tl.int64)
                tl.atomic_add(to, whole, mask=reached, sem="relaxed")
                if LIMBS == 2:
                    rest = (value - whole.to(W)) * fraction
                    tl.atomic_add(to + limb, rest.to(tl.int64), mask=reached, sem="relaxed")
        gradient += grad_c
        target += pixels


@kernel
def finish(
    grad_out,
    coordinates,
    fixed,
    limits,
    scatters,
    result,
    grad_map,
    grad_c,
    grad_q,
    at_map,
    at_row,
    at_column,
    in_x,
    in_y,
    in_z,
    out_x,
    out_y,
    out_z,
    images,
    channels,
    maps,
    bits,
    over_x,
    over_y,
    NDIM: tl.constexpr,
    MODE: tl.constexpr,
    TAPS: tl.constexpr,
    PRECISION: tl.constexpr,
    GATHERS: tl.constexpr,
    LIMBS: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The gradient of the image, `result [N, C, pixels]`, gathered or from what has been scattered."""
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    count = pixels_in(in_size)
    blocks = tl.cdiv(count, BLOCK)
    groups = tl.cdiv(channels, CHANNELS)
    n = (tl.program_id(0) // (blocks * groups)).to(tl.int64)
    pixels = (tl.program_id(0) % blocks).to(INDEX) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(0) // blocks % groups * CHANNELS
    mask = pixels < count
    places = (n * channels + first) * count + pixels

    scattered = 1
    if GATHERS:
        scattered = tl.load(scatters + n)
    totals = ()
    for _ in tl.static_range(CHANNELS):
        totals = totals + (tl.zeros([BLOCK], W),)
    if scattered == 0:
        if GATHERS:
            centered = from_center(unravel(pixels, in_size, (over_x, over_y), INDEX), in_size, W)
            for k in range(maps):
                pull = n * maps + k
                entries = load_matrix(
                    coordinates + pull * at_map, (at_map, at_row, at_column), in_size, out_size, False, W
                )
                gradient = grad_out + pull * grad_map + first.to(tl.int64) * grad_c
                totals = gather(
                    totals, gradient, grad_c, grad_q, channels - first, entries, centered, mask, in_size, out_size,
                    MODE, TAPS, PRECISION, INDEX, W,
                )  # fmt: skip
    else:
        exponent, finite = exponent_of(tl.load(limits + n), W)
        unit = power_of_two(-bits, W)
        scaled = ()
        for c in tl.static_range(CHANNELS):
            total = totals[c]
            for limb in tl.static_range(LIMBS):
                # The last first: the smallest.
                at = fixed + (LIMBS - 1 - limb) * images * channels * count + places + c * count
                whole = tl.load(at, mask=mask & (first + c < channels), other=0)
                total = (total + whole.to(W)) * unit
            total = total * power_of_two(-exponent, W)
            scaled = scaled + (tl.where(finite, total, float("nan")),)
        totals = scaled
    for c in tl.static_range(CHANNELS):
        value = totals[c].to(result.dtype.element_ty)
        tl.store(result + places + c * count, value, mask=mask & (first + c < channels))


@triton.jit
def gather(
    totals,
    gradient,
    grad_c,
    grad_q,
    channels,
    entries,
    centered,
    mask,
    in_size,
    out_size,
    MODE: tl.constexpr,
    TAPS: tl.constexpr,
    PRECISION: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """Adds to pixels, which lie `centered`, what one map's samples have read of them; a total for each channel."""
    ndim: tl.constexpr = len(in_size)
    inverse, widths, spans, _ = plan(entries, in_size, out_size, PRECISION, TAPS, W)
    firsts = ()
    lasts = ()
    reached = mask
    for j in tl.static_range(ndim):
        place = (out_size[j] - 1).to(W) * 0.5
        for d in tl.static_range(ndim):
            place = place + inverse[j * ndim + d] * (centered[d] - entries[d * (ndim + 1) + ndim])
        place = tl.minimum(tl.maximum(place, -FARTHEST), FARTHEST)
        first = tl.maximum(tl.ceil(place - widths[j]), 0.0)
        last = tl.minimum(tl.floor(place + widths[j]), (out_size[j] - 1).to(W))
        reached = reached & (first <= last)
        firsts = firsts + (first.to(INDEX),)
        lasts = lasts + (last.to(INDEX),)
    # Of many maps of one image, most do not come near these pixels.
    if tl.max(reached.to(tl.int32)) > 0:
        for z in range(spans[2].to(tl.int32) if ndim > 2 else 1):
            for y in range(spans[1].to(tl.int32) if ndim > 1 else 1):
                for x in range(spans[0].to(tl.int32)):
                    weight, sample = visit(
                        entries, firsts, lasts, (x, y, z)[:ndim], centered, reached, in_size, out_size, MODE,
                        PRECISION, W,
                    )  # fmt: skip
                    at = gradient + sample * grad_q
                    added = ()
                    for c in tl.static_range(len(totals)):
                        given = tl.load(at + c * grad_c, mask=(weight != 0) & (c < channels), other=0)
                        added = added + (totals[c] + weight * given.to(W),)
                    totals = added
    return totals


@triton.jit
def visit(
    entries,
    firsts,
    lasts,
    steps,
    centered,
    reached,
    in_size,
    out_size,
    MODE: tl.constexpr,
    PRECISION: tl.constexpr,
    W: tl.constexpr,
):
    """For each pixel, one sample so many steps from its first: how much of the pixel it has read, and its number."""
    ndim: tl.constexpr = len(in_size)
    samples = ()
    sample = firsts[0] * 0
    for j in tl.static_range(ndim):
        at = firsts[ndim - 1 - j] + steps[ndim - 1 - j]
        reached = reached & (at <= lasts[ndim - 1 - j])
        sample = sample * out_size[ndim - 1 - j] + at
        samples = (at,) + samples
    positions = transform(entries, from_center(samples, out_size, W), in_size, False, W)
    weight = reached.to(W)
    for d in tl.static_range(ndim):
        position = tl.minimum(tl.maximum(positions[d], -FARTHEST), FARTHEST)
        pixel = centered[d] + (in_size[d] - 1).to(W) * 0.5
        tolerance = tolerance_of(in_size[d], PRECISION, W)
        if MODE == "linear":
            weight = weight * tl.maximum(1 - tl.abs(settle(position, tolerance) - pixel), 0.0)
        else:
            first, weights, _ = weigh(position, tolerance, MODE)
            along = weight * 0
            for k in tl.static_range(len(weights)):
                along = tl.where(first + k == pixel, weights[k], along)
            weight = weight * along
    return weight, sample
