"""Floating-point numbers as whole ones of a fixed unit, whose sums do not depend on the order. Device functions."""

import triton
import triton.language as tl


@triton.jit
def power_of_two(exponent, W: tl.constexpr):
    """For the exponents of normal numbers."""
    if W == tl.float32:
        power = ((exponent.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    else:
        power = ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    return power


@triton.jit
def bits_of(value, W: tl.constexpr):
    """A magnitude as an integer; they are in the same order, with what is not a number as the largest."""
    if W == tl.float32:
        bits = tl.abs(value).to(tl.int32, bitcast=True)
    else:
        bits = tl.abs(value).to(tl.int64, bitcast=True)
    return bits


@triton.jit
def exponent_of(bits, W: tl.constexpr):
    """An exponent such that 2 to it times the number with these bits is below 4; and whether that number is finite."""
    if W == tl.float32:
        exponent = tl.maximum(126 - (bits >> 23), -126)
        finite = (bits >> 23) < 255
    else:
        exponent = tl.maximum(1022 - (bits >> 52), -1022)
        finite = (bits >> 52) < 2047
    return tl.minimum(exponent, 126 if W == tl.float32 else 1022), finite
