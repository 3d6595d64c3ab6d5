"""Losses that ask maps to agree with each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.maps import LinearMap, Map, check_map


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
        TypeError, ValueError: for what is no map, if `pull` is singular, or if the maps do not fit together.
    """
    check_map("pull", pull)
    check_map("pull_of_warped", pull_of_warped)
    check_map("known", known)
    moved = known @ pull_of_warped
    fits = pull.ndim == moved.ndim and len(pull.batch) == len(moved.batch)
    if not fits or any(a != b and 1 not in (a, b) for a, b in zip(pull.batch, moved.batch, strict=True)):
        raise ValueError(
            f"pull_of_warped: wanted maps that fit pull's, {pull.ndim}-D {pull.batch}, got {moved.ndim}-D {moved.batch}"
        )
    points = pull.centers(size)
    target = moved(points)
    if isinstance(pull, LinearMap):
        residual = pull.inverse()(target) - points
    else:
        left = target - pull(points)
        step, info = torch.linalg.solve_ex(pull.jacobian(points).to(left.dtype), left.unsqueeze(-1))
        if info.any():
            raise ValueError("pull: wanted a map that can be inverted at every point, got one with a singular Jacobian")
        residual = step.squeeze(-1)
    return residual.square().sum(-1).mean()


def inverse_consistency(forward: Map, backward: Map, size: Sequence[int]) -> Tensor:
    """Mean of `|forward(backward(p)) - p|²` and `|backward(forward(p)) - p|²` over output points p (ICON, Greer 2021).

    Returns:
        A scalar, in squared half extents; 0 exactly if each map undoes the other at the points.

    Raises:
        TypeError, ValueError: for what is no map, or if the maps do not fit together.
    """
    check_map("forward", forward)
    check_map("backward", backward)
    points = forward.centers(size)
    there = (forward @ backward)(points) - points
    back = (backward @ forward)(points) - points
    return (there.square().sum(-1).mean() + back.square().sum(-1).mean()) / 2
