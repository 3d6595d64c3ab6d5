"""Maps given by radial basis functions: thin-plate splines."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from unwarp.checks import check_coordinates, check_points, check_size
from unwarp.coordinates import matmul
from unwarp.maps.base import Map

_NEAREST = 1e-30
# A basis that is kept has at most this many numbers.
_MOST_KEPT = 2**22


class SplineMap(Map):
    """Identity plus a thin-plate spline displacement: `p + A [1, p] + sum_l w_l U(|p - c_l|)`.

    `U(r)` is r³, r² log r and r in 1, 2 and 3 dimensions (Duchon 1977; Bookstein 1989).

    Args:
        control: control points `[L, D]`, normalised.
        weights: `[*batch, L, D]`, the w_l.
        affine: `[*batch, D+1, D]`, first the constant, then a row for each coordinate.
        fixed: the control points as numbers, where they have no gradient. What a grid needs of them is then computed
            once per size, and kept for the last sizes.

    Raises:
        TypeError, ValueError: for tensors that are not of these forms.
    """

    def __init__(
        self, control: Tensor, weights: Tensor, affine: Tensor, fixed: tuple[tuple[float, ...], ...] | None = None
    ) -> None:
        for name, tensor in (("control", control), ("weights", weights), ("affine", affine)):
            check_coordinates(name, tensor)
        if control.ndim != 2 or not 1 <= control.shape[1] <= 3:
            raise ValueError(f"control: wanted [L, D] with D from 1 to 3, got {list(control.shape)}")
        count, ndim = control.shape
        if weights.ndim not in (3, 4) or weights.shape[-2:] != (count, ndim):
            raise ValueError(f"weights: wanted [N, {count}, {ndim}] (or with K after N), got {list(weights.shape)}")
        if affine.shape != (*weights.shape[:-2], ndim + 1, ndim):
            wanted = [*weights.shape[:-2], ndim + 1, ndim]
            raise ValueError(f"affine: wanted {wanted} beside these weights, got {list(affine.shape)}")
        self.control, self.weights, self.affine, self.fixed = control, weights, affine, fixed

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
        flat = _in_a_row(points, lead)
        dtype = torch.promote_types(points.dtype, self.dtype)
        basis = torch.cat([radial(flat, self.control), torch.ones_like(flat[..., :1]), flat], dim=-1).to(dtype)
        coefficients = torch.cat([self.weights, self.affine], dim=-2).to(dtype)
        if all(extent == 1 for extent in points.shape[:lead]):
            # Points that all maps share: one product for all, where a batched one would copy the basis for each.
            columns = coefficients.flatten(0, lead - 1).transpose(0, 1).flatten(1)
            product = matmul(basis.flatten(0, lead), columns)
            displacement = product.unflatten(-1, (-1, self.ndim)).transpose(0, 1).unflatten(0, self.batch)
        else:
            displacement = matmul(basis, coefficients)
        return (flat + displacement).reshape(*displacement.shape[:lead], *points.shape[lead:])

    def grid(self, size: Sequence[int]) -> Tensor:
        """Input coordinates `[*batch, *size, D]` of every pixel centre."""
        check_size(size, self.ndim)
        if self.fixed is None or math.prod(size) * (len(self.fixed) + self.ndim + 1) > _MOST_KEPT or not self._keeps():
            return super().grid(size)
        # What `matmul` would make of it.
        dtype = torch.float64 if self.device.type == "cuda" else self.dtype
        basis = _grid_basis(self.fixed, tuple(size), dtype, self.device)
        identity = torch.eye(self.ndim + 1, dtype=self.dtype, device=self.device)[:, 1:]
        coefficients = torch.cat([self.weights, self.affine + identity], dim=-2)
        # One product for all maps, coordinate by coordinate: the sampler reads those as they lie.
        rows = coefficients.transpose(-1, -2).flatten(0, -2)
        points = matmul(rows.to(dtype), basis).to(self.dtype)
        return points.reshape(*self.batch, self.ndim, *size).movedim(len(self.batch), -1)

    def _keeps(self) -> bool:
        """Whether tensors made here outlive the program that is running: not where it is only traced or recorded."""
        # Tensors that only stand for others (fake ones) are of another type.
        if type(self.weights) is not Tensor or torch.compiler.is_compiling():
            return False
        on_gpu = self.device.type == "cuda"
        return self.device.type == "cpu" or (on_gpu and not torch.cuda.is_current_stream_capturing())

    def jacobian(self, points: Tensor) -> Tensor:
        """Derivatives `[*batch, ..., D, D]`."""
        check_points(points, self.ndim, self.batch)
        lead = len(self.batch)
        flat = _in_a_row(points, lead)
        difference = flat.unsqueeze(-2) - self.control
        squared = difference.square().sum(-1, keepdim=True)
        # U of 3-D has a kink at its control point, where the slope is 0, and no derivative of it is wanted.
        apart = squared > _NEAREST
        squared = torch.where(apart, squared, 1)
        slope = {1: 3 * squared.sqrt(), 2: squared.log() + 1, 3: squared.rsqrt()}[self.ndim]
        slope = torch.where(apart, slope, 0) * difference
        # [*batch, 1, D, L] @ [*batch, Q, L, D]
        dtype = torch.promote_types(slope.dtype, self.dtype)
        curved = matmul(self.weights.to(dtype).transpose(-1, -2).unsqueeze(-3), slope.to(dtype))
        eye = torch.eye(self.ndim, dtype=self.dtype, device=self.device)
        total = curved + (eye + self.affine[..., 1:, :].transpose(-1, -2)).unsqueeze(-3)
        return total.reshape(*total.shape[:lead], *points.shape[lead:], self.ndim)

    def bending_energy(self) -> Tensor:
        """`trace(wᵀ K w)`, `[*batch]`: the bending energy up to a constant (Bookstein 1989); 0 for affine maps."""
        bent = matmul(radial(self.control.to(self.dtype), self.control.to(self.dtype)), self.weights)
        sign = -1 if self.ndim == 3 else 1
        return sign * (self.weights * bent).sum((-1, -2))

    def detach(self) -> Self:
        """The same map, cut off from the graph, its control points too."""
        return type(self)(self.control.detach(), self.weights.detach(), self.affine.detach(), self.fixed)

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The map with changed coefficients; all maps share the control points."""
        return type(self)(self.control, change(self.weights), change(self.affine), self.fixed)


def _in_a_row(points: Tensor, lead: int) -> Tensor:
    """`points [*batch, ..., D]` as `[*batch, Q, D]`, of an empty batch, too."""
    return points.reshape(*points.shape[:lead], math.prod(points.shape[lead:-1]), points.shape[-1])


def radial(points: Tensor, control: Tensor) -> Tensor:
    """`U(|p - c|)`, shape `[..., Q, L]`, of `points [..., Q, D]` and `control [L, D]`."""
    distances = [(points[..., d, None] - control[:, d]).square() for d in range(control.shape[-1])]
    squared = sum(distances[1:], start=distances[0]).clamp_min(_NEAREST)
    ndim = control.shape[-1]
    return {1: lambda: squared**1.5, 2: lambda: 0.5 * squared * squared.log(), 3: squared.sqrt}[ndim]()


@lru_cache(maxsize=4)
def _grid_basis(
    control: tuple[tuple[float, ...], ...], size: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """`U(|p - c_l|)`, 1 and the coordinates at every pixel centre p: `[L + 1 + D, Q]`."""
    # In NumPy, and for no mode: what is kept must not belong to a transform of torch.func that happens to be active.
    axes = np.meshgrid(*((2 * np.arange(count) - (count - 1)) / count for count in size), indexing="ij")[::-1]
    points = np.stack([axis.ravel() for axis in axes])
    distance = np.linalg.norm(points - np.asarray(control)[:, :, None], axis=1)
    if len(size) == 1:
        distance = distance**3
    elif len(size) == 2:
        distance = distance**2 * np.log(np.maximum(distance, math.sqrt(_NEAREST)))
    basis = np.concatenate([distance, np.ones_like(points[:1]), points])
    with torch.inference_mode(False):
        kept = torch.from_numpy(basis.astype(np.float64 if dtype == torch.float64 else np.float32)).to(device)
    if kept.is_cuda:  # whatever stream will read it
        torch.cuda.synchronize(device)
    return kept
