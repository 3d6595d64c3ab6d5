"""Losses that keep a map well behaved."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_positive
from unwarp.maps import Map, SplineMap, check_map

_SMALLEST_DETERMINANT = 1e-12


def identity_prior(pull: Map, size: Sequence[int]) -> Tensor:
    """Mean squared displacement `|A p - p|²` over the pixel centres of an output of that size; scalar."""
    check_map("pull", pull)
    return (pull.grid(size) - pull.centers(size)).square().sum(-1).mean()


def outside(pull: Map, size: Sequence[int]) -> Tensor:
    """Mean squared distance of the samples from the image, in half extents; scalar, 0 if all are inside."""
    check_map("pull", pull)
    return (pull.grid(size).abs() - 1).clamp_min(0).square().sum(-1).mean()


def shrinkage(pull: Map, size: Sequence[int], smallest: float = 0.5) -> Tensor:
    """Penalty on zooming in beyond scale `smallest`: mean of `max(0, log(smallest / scale))²`; scalar.

    The scale at a point is `|det J|^(1/D)`: 1 sees all of the input, 0 is a crop that has shrunk to a point.

    Raises:
        TypeError, ValueError: unless `smallest` is over 0.
    """
    check_map("pull", pull)
    check_positive("smallest", smallest)
    determinant = torch.linalg.det(pull.jacobian(pull.centers(size))).abs().clamp_min(_SMALLEST_DETERMINANT)
    log_scale = determinant.log() / pull.ndim
    return (math.log(smallest) - log_scale).clamp_min(0).square().mean()


def bending_energy(pull: Map) -> Tensor:
    """Mean bending energy of the batch, up to a constant (Bookstein 1989); scalar, 0 for affine splines.

    Raises:
        TypeError: for a map that is not a spline.
    """
    if not isinstance(pull, SplineMap):
        raise TypeError(f"pull: wanted a SplineMap, got {type(pull).__name__}")
    return pull.bending_energy().mean()
