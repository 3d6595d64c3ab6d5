"""Losses that ask maps to agree with each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.maps import LinearMap, Map


def transformation_consistency(pull: Map, pull_of_warped: Map, known: Map, size: Sequence[int]) -> Tensor:
    """How much the canonical picture moves when the input is warped by a known map.

    With A(x) the map predicted for x and G the known map, the canonical picture of x∘G = `warp(x, G)` is that of x
    exactly if A(x∘G) = G⁻¹ A(x). The loss is the mean over output points p of `|A(x)⁻¹ G A(x∘G) p - p|²`, which,
    unlike the difference of `G A(x∘G)` and `A(x)`, cannot be made small by zooming in. Where A(x) is not linear, its
    inverse is replaced by one Newton step from p, exact to first order.

    Args:
        pull: A(x), the map predicted for the image x.
        pull_of_warped: A(x∘G), the map predicted for `warp(x, known)`.
        known: G.
        size: spatial size of the output whose pixel centres are the points.

    Returns:
        A scalar, in squared half extents of the output.

    Raises:
        ValueError: if a matrix of `pull` is singular, or the maps do not fit together.
    """
    points = pull.centers(size)
    target = (known @ pull_of_warped)(points)
    if isinstance(pull, LinearMap):
        residual = pull.inverse()(target) - points
    else:
        residual = torch.linalg.solve(pull.jacobian(points), (target - pull(points)).unsqueeze(-1)).squeeze(-1)
    return residual.square().sum(-1).mean()


def inverse_consistency(forward: Map, backward: Map, size: Sequence[int]) -> Tensor:
    """Mean of `|forward(backward(p)) - p|²` and `|backward(forward(p)) - p|²` over output points p (ICON, Greer 2021).

    Returns:
        A scalar, in squared half extents; 0 exactly if each map undoes the other at the points.
    """
    points = forward.centers(size)
    there = (forward @ backward)(points) - points
    back = (backward @ forward)(points) - points
    return (there.square().sum(-1).mean() + back.square().sum(-1).mean()) / 2
