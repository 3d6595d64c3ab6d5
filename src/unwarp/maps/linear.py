"""Affine and projective maps: one matrix each."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from unwarp.checks import check_matrix, check_points, check_size
from unwarp.coordinates import HORIZON, combine, divide, linear_grid, product
from unwarp.maps.base import Map


class LinearMap(Map):
    """A map that is linear in homogeneous coordinates.

    Args:
        matrix: `[*batch, D, D+1]` for affine maps, `[*batch, D+1, D+1]` for projective ones; rows and columns in
            (x, y, z) order; float32 or float64. A projective matrix is one with w > 0.001 where it looks, what is
            not is behind the horizon: divide it by its last entry if its scale is arbitrary.

    Raises:
        TypeError, ValueError: for another dtype or shape.
    """

    def __init__(self, matrix: Tensor) -> None:
        check_matrix(matrix)
        self.matrix = matrix

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions D."""
        return self.matrix.shape[-1] - 1

    @property
    def batch(self) -> tuple[int, ...]:
        """`(N,)` or `(N, K)`."""
        return tuple(self.matrix.shape[:-2])

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        """Where the matrix is."""
        return self.matrix.device

    @property
    def is_affine(self) -> bool:
        """Whether the matrix has no projective row."""
        return self.matrix.shape[-2] == self.ndim

    @property
    def homogeneous(self) -> Tensor:
        """The square matrix `[*batch, D+1, D+1]`."""
        if not self.is_affine:
            return self.matrix
        last = torch.zeros_like(self.matrix[..., :1, :])
        last[..., -1] = 1
        return torch.cat([self.matrix, last], dim=-2)

    def __call__(self, points: Tensor) -> Tensor:
        """Input coordinates of `points [*batch, ..., D]`."""
        check_points(points, self.ndim, self.batch)
        combined = combine(self.matrix, points.unbind(-1), len(self.batch))
        return combined if self.is_affine else divide(combined)

    def grid(self, size: Sequence[int]) -> Tensor:
        """Input coordinates `[*batch, *size, D]` of every pixel centre."""
        check_size(size, self.ndim)
        return linear_grid(self.matrix, size)

    def jacobian(self, points: Tensor) -> Tensor:
        """Derivatives `[*batch, ..., D, D]`; the same everywhere for an affine map."""
        check_points(points, self.ndim, self.batch)
        spread = (..., *(None for _ in range(points.ndim - 1 - len(self.batch))), slice(None), slice(None))
        matrix = self.matrix[spread]
        linear = matrix[..., :-1]
        if self.is_affine:
            shape = torch.broadcast_shapes(points.shape[:-1], linear.shape[:-2])
            return linear.expand(*shape, self.ndim, self.ndim)
        combined = combine(self.matrix, points.unbind(-1), len(self.batch))
        w = combined[..., -1:].clamp_min(HORIZON)
        ahead = (combined[..., -1:] > HORIZON).to(w.dtype)
        image = (combined[..., :-1] / w * ahead).unsqueeze(-1)
        return (linear[..., :-1, :] - image * linear[..., -1:, :]) / w.unsqueeze(-1)

    def inverse(self) -> "LinearMap":
        """The inverse map. ValueError naming the first singular matrix, if there is one."""
        try:
            inverse = torch.linalg.inv(self.homogeneous)
        except RuntimeError as error:  # torch's LinAlgError is one
            raise ValueError(f"inverse: wanted matrices that can be inverted, got a singular one ({error})") from error
        return LinearMap(inverse[..., :-1, :] if self.is_affine else inverse)

    def after(self, inner: "LinearMap") -> "LinearMap":
        """The map `self(inner(points))` as one matrix."""
        matrix = product(self.homogeneous, inner.homogeneous)
        return LinearMap(matrix[..., :-1, :] if self.is_affine and inner.is_affine else matrix)

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The map of the changed matrix."""
        return type(self)(change(self.matrix))
