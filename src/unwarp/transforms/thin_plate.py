"""Thin-plate splines over control points."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from unwarp.checks import check_coordinates, check_positive, check_size
from unwarp.coordinates import matmul
from unwarp.maps import Map, SplineMap
from unwarp.maps.spline import radial
from unwarp.transforms.base import Transform

# How thin points lie, against how wide, that lie in one line but for rounding (in float32, perhaps).
_FLAT = 1e-5


class ThinPlateSpline(Transform):
    """Theta `[N, L·D]`: the offset (x, y, z) of each control point, normalised, point after point; identity 0.

    The map takes control point c_l to c_l + offset_l and bends as little as it can between (Bookstein 1989); the paper
    (arXiv 1506.02025) uses a 4×4 grid of points.

    Args:
        control: extents of a regular grid of control points that spans -1..1, in the order of the image's axes, or the
            points themselves `[L, D]`, normalised, (x, y, z); a `state_dict` has them only if they are learned.
        regularization: 0 takes every control point exactly to its place; more of it bends less.
        learned: whether the control points are parameters, trained with the network.

    Raises:
        TypeError, ValueError: for fewer than D + 1 control points, points that lie in one line (or plane), or a point
            twice without regularization.
    """

    def __init__(
        self, control: Sequence[int] | Tensor = (4, 4), *, regularization: float = 0.0, learned: bool = False
    ) -> None:
        points = _regular_grid(control) if not isinstance(control, Tensor) else control.detach().clone()
        check_coordinates("control", points)
        if points.ndim != 2 or not 1 <= points.shape[1] <= 3:
            raise ValueError(f"control: wanted [L, D] with D from 1 to 3, got {list(points.shape)}")
        if not torch.isfinite(points).all():
            raise ValueError("control: wanted finite numbers, got some that are not")
        check_positive("regularization", regularization, allow_zero=True)
        spread = torch.linalg.svdvals(_with_one(points.double()))
        if len(points) <= points.shape[1] or spread[-1] <= _FLAT * spread[0]:
            raise ValueError(
                f"control: wanted at least {points.shape[1] + 1} points that do not lie in one line (or plane), got "
                f"{len(points)}" + (" that do" if len(points) > points.shape[1] else "")
            )
        super().__init__(points.shape[1], ("offset",) * points.numel())
        self.regularization = regularization
        if regularization == 0 and torch.pdist(points.double()).min() <= _FLAT * spread[0] / len(points) ** 0.5:
            raise ValueError("control: wanted no point twice, or regularization > 0")
        solver = _solve(points.double(), regularization)
        self.learned = learned
        self._fixed = None if learned else tuple(map(tuple, points.double().tolist()))
        # Kept aside in full precision: a model cast to half must not take the geometry with it.
        self._exact = {} if learned else {"control": points.double(), "solver": solver}
        if learned:
            self.control = nn.Parameter(points.float())
        else:
            self.register_buffer("control", points.double(), persistent=False)
            self.register_buffer("solver", solver, persistent=False)

    control: Tensor
    solver: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        module = super()._apply(fn, recurse)
        for name, exact in self._exact.items():
            setattr(self, name, exact.to(getattr(self, name).device))
        return module

    def _to_map(self, theta: Tensor) -> Map:
        if self.learned:
            control = self.control.to(theta.dtype)
            solver = _solve(control.double(), self.regularization).to(theta.dtype)
        else:
            control, solver = self.control.to(theta.dtype), self.solver.to(theta.dtype)
        coefficients = matmul(solver, theta.unflatten(-1, (-1, self.ndim)))
        count = control.shape[0]
        return SplineMap(control, coefficients[..., :count, :], coefficients[..., count:, :], self._fixed)

    def __repr__(self) -> str:
        return f"ThinPlateSpline({self.num_params // self.ndim} control points, ndim={self.ndim})"


def _regular_grid(extents: Any) -> Tensor:
    if not isinstance(extents, Sequence):
        raise TypeError(f"control: wanted extents of a grid, or a tensor of points, got {type(extents).__name__}")
    if not 1 <= len(extents) <= 3:
        raise ValueError(f"control: wanted a grid of 1 to 3 axes, got {tuple(extents)}")
    check_size(extents, len(extents), "control")
    if any(count < 2 for count in extents):
        raise ValueError(f"control: wanted at least 2 points along each axis, got {tuple(extents)}")
    # Where a network is made on torch.device("meta"), what its control points mean is known all the same.
    axes = [torch.linspace(-1, 1, count, dtype=torch.float64, device="cpu") for count in extents]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).flatten(0, -2)


def _with_one(points: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(points[:, :1]), points], dim=1)


def _solve(control: Tensor, regularization: float) -> Tensor:
    """The matrix `[L + D + 1, L]` that takes offsets at the control points to a spline's coefficients."""
    count, ndim = control.shape
    affine = _with_one(control)
    # In 3-D the kernel -r is the positive one, so there the regularisation has the other sign.
    smooth = (-1 if ndim == 3 else 1) * regularization * torch.eye(count, dtype=control.dtype, device=control.device)
    system = torch.cat(
        [
            torch.cat([radial(control, control) + smooth, affine], dim=1),
            torch.cat([affine.T, affine.new_zeros(ndim + 1, ndim + 1)], dim=1),
        ]
    )
    return torch.linalg.inv_ex(system).inverse[:, :count].contiguous()
