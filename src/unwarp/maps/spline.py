"""Maps given by radial basis functions: thin-plate splines."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from unwarp.checks import check_points
from unwarp.maps.base import Map

_NEAREST = 1e-30


class SplineMap(Map):
    """Identity plus a thin-plate spline displacement: `p + A [1, p] + sum_l w_l U(|p - c_l|)`.

    `U(r)` is r³, r² log r and r in 1, 2 and 3 dimensions (Duchon 1977; Bookstein 1989).

    Args:
        control: control points `[L, D]`, normalised.
        weights: `[*batch, L, D]`, the w_l.
        affine: `[*batch, D+1, D]`, first the constant, then a row for each coordinate.
    """

    def __init__(self, control: Tensor, weights: Tensor, affine: Tensor) -> None:
        self.control, self.weights, self.affine = control, weights, affine

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions D."""
        return self.control.shape[-1]

    @property
    def batch(self) -> tuple[int, ...]:
        """`(N,)` or `(N, K)`."""
        return tuple(self.weights.shape[:-2])

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.weights.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights.device

    def __call__(self, points: Tensor) -> Tensor:
        """Input coordinates of `points [*batch, ..., D]`."""
        check_points(points, self.ndim, self.batch)
        lead = len(self.batch)
        flat = points.reshape(*points.shape[:lead], -1, self.ndim)
        basis = torch.cat([radial(flat, self.control), torch.ones_like(flat[..., :1]), flat], dim=-1)
        coefficients = torch.cat([self.weights, self.affine], dim=-2)
        # Matmul would follow autocast into half precision.
        with torch.autocast(self.device.type, enabled=False):
            if all(extent == 1 for extent in points.shape[:lead]):
                # Points that all maps share: one product for all, where a batched one would copy the basis for each.
                columns = coefficients.flatten(0, lead - 1).transpose(0, 1).flatten(1)
                product = basis.flatten(0, lead) @ columns
                displacement = product.unflatten(-1, (-1, self.ndim)).transpose(0, 1).unflatten(0, self.batch)
            else:
                displacement = basis @ coefficients
        return (flat + displacement).reshape(*displacement.shape[:lead], *points.shape[lead:])

    def jacobian(self, points: Tensor) -> Tensor:
        """Derivatives `[*batch, ..., D, D]`."""
        check_points(points, self.ndim, self.batch)
        lead = len(self.batch)
        flat = points.reshape(*points.shape[:lead], -1, self.ndim)
        difference = flat.unsqueeze(-2) - self.control
        squared = difference.square().sum(-1, keepdim=True).clamp_min(_NEAREST)
        slope = {1: 3 * squared.sqrt(), 2: squared.log() + 1, 3: squared.rsqrt()}[self.ndim] * difference
        with torch.autocast(self.device.type, enabled=False):
            # [*batch, 1, D, L] @ [*batch, Q, L, D]
            curved = self.weights.transpose(-1, -2).unsqueeze(-3) @ slope
        eye = torch.eye(self.ndim, dtype=self.dtype, device=self.device)
        total = curved + (eye + self.affine[..., 1:, :].transpose(-1, -2)).unsqueeze(-3)
        return total.reshape(*total.shape[:lead], *points.shape[lead:], self.ndim)

    def bending_energy(self) -> Tensor:
        """`trace(wᵀ K w)`, `[*batch]`: the bending energy up to a constant (Bookstein 1989); 0 for affine maps."""
        with torch.autocast(self.device.type, enabled=False):
            bent = radial(self.control.to(self.dtype), self.control.to(self.dtype)) @ self.weights
        sign = -1 if self.ndim == 3 else 1
        return sign * (self.weights * bent).sum((-1, -2))

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The map with changed coefficients; all maps share the control points."""
        return type(self)(self.control, change(self.weights), change(self.affine))


def radial(points: Tensor, control: Tensor) -> Tensor:
    """`U(|p - c|)`, shape `[..., Q, L]`, of `points [..., Q, D]` and `control [L, D]`."""
    distances = [(points[..., d, None] - control[:, d]).square() for d in range(control.shape[-1])]
    squared = sum(distances[1:], start=distances[0]).clamp_min(_NEAREST)
    ndim = control.shape[-1]
    return {1: lambda: squared**1.5, 2: lambda: 0.5 * squared * squared.log(), 3: squared.sqrt}[ndim]()
