"""The kernel that reads an image.

A program goes through blocks of samples of one map; of each it finds once what they read, then goes through the
channels. Of footprints it finds anew what each of their probes reads.
"""

import triton
import triton.language as tl

from unwarp.sampling.gpu.boxes import count_pieces, find_box, take
from unwarp.sampling.gpu.locate import kernel, load_entries, locate
from unwarp.sampling.gpu.probes import load_footprints, probe, shrinking
from unwarp.sampling.gpu.taps import are_inside, between, find_cells, find_taps, offset_of, weight_of

# So many pixels are loaded together; more would not fit the registers.
AT_ONCE = tl.constexpr(8)


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
    at_once,
    NDIM: tl.constexpr,
    LINEAR: tl.constexpr,
    PROJECTIVE: tl.constexpr,
    FOOTPRINTS: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    PRECISION: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    CELLS: tl.constexpr,
    DENSE: tl.constexpr,
    DEPTH: tl.constexpr,
    SINGLE: tl.constexpr,
):
    """`image` at the samples; each of a map's `programs` takes every so many-th block of them, and `at_once` channels.

    `out [N K, C, count]` is without gaps, and with `DENSE` the rows of the image are. With `CELLS` samples are linear,
    and blocks of them that `are_inside` are read in a shorter way; with `DEPTH` they are those of an affine map and a
    volume, in boxes of so many slices, to which `over_x` and `over_y` then belong. `SINGLE` says that there is one
    channel. Arguments ending in an axis are its strides.
    """
    in_size = (in_x, in_y, in_z)[:NDIM]
    out_size = (out_x, out_y, out_z)[:NDIM]
    over = (over_x, over_y)
    image_strides = (1 if DENSE else image_x, image_y, image_z)
    groups = tl.cdiv(channels, at_once)
    number = tl.program_id(0) // (programs * groups)
    pull = number.to(tl.int64)
    first = tl.program_id(0) // programs % groups * at_once
    at = coordinates + pull * at_map
    strides = (at_map, at_row, at_column, at_change)
    entries = load_entries(at, strides, in_size, out_size, LINEAR, PROJECTIVE, W)
    source = image + (number // maps).to(tl.int64) * image_n + first.to(tl.int64) * image_c
    background = fill + first * fill_c
    some = 1 if SINGLE else tl.minimum(at_once, channels - first)
    for piece in range(tl.program_id(0) % programs, count_pieces(count, out_size, DEPTH, BLOCK), programs):
        corner, box_inside = find_box(piece, entries, in_size, out_size, over, DEPTH, W)
        for step in range(DEPTH if DEPTH else 1):
            samples, mask, centered = take(piece, step, corner, count, out_size, over, LINEAR, DEPTH, BLOCK, INDEX, W)
            target = out + (pull * channels + first) * count + samples
            if FOOTPRINTS:
                steps, positions = load_footprints(at, strides, samples, mask, in_size, W)
                read_footprints(
                    source, background, target, mask, image_c, fill_c, count, some, steps, positions, in_size,
                    image_strides, PRECISION, MODE, PADDING, FILLED, INDEX, W,
                )  # fmt: skip
            else:
                positions = locate(entries, at, strides, samples, centered, mask, in_size, LINEAR, PROJECTIVE, INDEX, W)
                if CELLS:
                    if box_inside if DEPTH else are_inside(positions, in_size, W):
                        read_cells(
                            source, target, mask, image_c, count, some, positions, in_size, image_strides, PRECISION,
                            INDEX, W, UNROLL,
                        )  # fmt: skip
                    else:
                        read_taps(
                            source, background, target, mask, image_c, fill_c, count, some, positions, in_size,
                            image_strides, PRECISION, MODE, PADDING, FILLED, INDEX, W, UNROLL,
                        )  # fmt: skip
                else:
                    read_taps(
                        source, background, target, mask, image_c, fill_c, count, some, positions, in_size,
                        image_strides, PRECISION, MODE, PADDING, FILLED, INDEX, W, UNROLL,
                    )  # fmt: skip


@triton.jit
def read_cells(
    source,
    target,
    mask,
    image_c,
    target_c,
    channels,
    positions,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Reads and stores all channels of linear samples that `are_inside`."""
    offsets, weights = find_cells(positions, in_size, image_strides, PRECISION, INDEX, W)
    for _ in tl.range(channels, loop_unroll_factor=UNROLL):
        values = load_cells(source, offsets, image_strides[0], W)
        for d in tl.static_range(len(in_size)):
            values = between(values, weights[d])
        store(target, values[0], mask, W)
        source += image_c
        target += target_c


@triton.jit
def read_taps(
    source,
    background,
    target,
    mask,
    image_c,
    fill_c,
    target_c,
    channels,
    positions,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Reads and stores all channels of samples anywhere."""
    offsets, weights, slopes, inside, finite = find_taps(
        positions, in_size, image_strides, PRECISION, MODE, PADDING, INDEX, W
    )
    for _ in tl.range(channels, loop_unroll_factor=UNROLL):
        total = tl.where(finite, weighted_sum(source, offsets, weights, slopes, W), 0.0)
        if FILLED:
            total += tl.load(background).to(W) * (1 - inside)
        store(target, total, mask, W)
        source += image_c
        target += target_c
        background += fill_c


@triton.jit
def read_footprints(
    source,
    background,
    target,
    mask,
    image_c,
    fill_c,
    target_c,
    channels,
    steps,
    positions,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """Reads and stores all channels of samples that are means over footprints."""
    cells, counts, probes = shrinking(steps, len(in_size), W)
    for _ in range(channels):
        total = mean_of_probes(
            source, background, steps, positions, cells, counts, probes, in_size, image_strides, PRECISION, MODE,
            PADDING, FILLED, INDEX, W,
        )  # fmt: skip
        store(target, total, mask, W)
        source += image_c
        target += target_c
        background += fill_c


@triton.jit
def store(target, value, mask, W: tl.constexpr):
    """Stores what has been read, as the type that it is read from."""
    if target.dtype.element_ty == tl.uint8:
        value = tl.minimum(tl.maximum(round_even(value, W), 0.0), 255.0)
    tl.store(target, value.to(target.dtype.element_ty), mask=mask)


@triton.jit
def load_cells(source, offsets, step, W: tl.constexpr):
    """The corners of cells; the second of two along x is `step` elements from its offset."""
    values = ()
    for k in tl.static_range(2 ** len(offsets)):
        address = source + offset_of(offsets, k)
        # The addition comes last: of a number known in advance it is a part of the load.
        values = values + (tl.load(address + step if k % 2 == 1 else address).to(W),)
    return values


@triton.jit
def load_taps(source, offsets, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """What samples read, from a combination of taps on; all of it is under way before the first value is used.

    All taps lie in the picture, so that nothing is masked: GPUs wait for every masked load before the next.
    """
    values = ()
    for k in tl.static_range(FIRST, FIRST + COUNT):
        values = values + (tl.load(source + offset_of(offsets, k)),)
    return values


@triton.jit
def weighted_sum(source, offsets, weights, slopes, W: tl.constexpr):
    """The value of one channel at the samples."""
    taps: tl.constexpr = len(offsets[0]) ** len(offsets)
    total = tl.zeros_like(weights[0][0])
    for first in tl.static_range(0, taps, AT_ONCE):
        values = load_taps(source, offsets, first, min(AT_ONCE, taps - first))
        for k in tl.static_range(len(values)):
            total += weight_of(weights, slopes, first + k, -1) * values[k].to(W)
    return total


@triton.jit
def mean_of_probes(
    source,
    background,
    steps,
    positions,
    cells,
    counts,
    probes,
    in_size,
    image_strides,
    PRECISION: tl.constexpr,
    MODE: tl.constexpr,
    PADDING: tl.constexpr,
    FILLED: tl.constexpr,
    INDEX: tl.constexpr,
    W: tl.constexpr,
):
    """The value of one channel at footprints."""
    total = cells[0] * 0
    for number in range(probes):
        share, _, probed = probe(steps, positions, cells, counts, number, W)
        offsets, weights, slopes, inside, finite = find_taps(
            probed, in_size, image_strides, PRECISION, MODE, PADDING, INDEX, W
        )
        value = tl.where(finite, weighted_sum(source, offsets, weights, slopes, W), 0.0)
        if FILLED:
            value += tl.load(background).to(W) * (1 - inside)
        total += share * value
    return total
