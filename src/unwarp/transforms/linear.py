"""Families of affine and projective maps."""

from itertools import combinations

import torch
from torch import Tensor

from unwarp.checks import check_ndim
from unwarp.coordinates import product
from unwarp.maps import LinearMap, Map
from unwarp.transforms.base import Transform


class Translation(Transform):
    """Theta `[N, D]`: the shift (x, y, z), in half extents of the picture; identity 0."""

    def __init__(self, ndim: int = 2) -> None:
        check_ndim(ndim)
        super().__init__(ndim, ("translation",) * ndim)

    def _to_map(self, theta: Tensor) -> Map:
        eye = torch.eye(self.ndim, dtype=theta.dtype, device=theta.device)
        return LinearMap(_affine_matrix(eye.expand(*theta.shape[:-1], -1, -1), theta))


class Attention(Transform):
    """Theta `[N, 1 + D]`: isotropic scale, then the shift (Eq. 2 of arXiv 1506.02025); identity (1, 0, ...).

    A scale under 1 zooms in: the output sees a smaller part of the input.
    """

    def __init__(self, ndim: int = 2) -> None:
        check_ndim(ndim)
        super().__init__(ndim, ("scale",) + ("translation",) * ndim)

    def _to_map(self, theta: Tensor) -> Map:
        eye = torch.eye(self.ndim, dtype=theta.dtype, device=theta.device)
        return LinearMap(_affine_matrix(theta[..., :1, None] * eye, theta[..., 1:]))


class Rotation(Transform):
    """Theta `[N, D (D-1) / 2]`: in 2-D the angle in radians, from the x to the y axis; in 3-D the rotation vector."""

    def __init__(self, ndim: int = 2) -> None:
        check_ndim(ndim, (2, 3))
        super().__init__(ndim, ("angle",) * (ndim * (ndim - 1) // 2))

    def _to_map(self, theta: Tensor) -> Map:
        return LinearMap(
            _affine_matrix(rotation_matrix(theta, self.ndim), theta.new_zeros(*theta.shape[:-1], self.ndim))
        )


class Similarity(Transform):
    """Theta `[N, 1 + D (D-1) / 2 + D]`: isotropic scale, rotation as in `Rotation`, shift; identity (1, 0, ...)."""

    def __init__(self, ndim: int = 2) -> None:
        check_ndim(ndim, (2, 3))
        self._angles = ndim * (ndim - 1) // 2
        super().__init__(ndim, ("scale",) + ("angle",) * self._angles + ("translation",) * ndim)

    def _to_map(self, theta: Tensor) -> Map:
        scale, angles, shift = theta.split([1, self._angles, self.ndim], dim=-1)
        return LinearMap(_affine_matrix(scale.unsqueeze(-1) * rotation_matrix(angles, self.ndim), shift))


class Affine(Transform):
    """Theta `[N, D (D+1)]`: rows of the matrix `[D, D+1]` (Eq. 1 of arXiv 1506.02025); identity (1, 0, 0, 0, 1, 0).

    As components (see `Bounded`): D scales, the angles, the shears, the shift; the matrix is rotation · shear · scale.
    """

    def __init__(self, ndim: int = 2) -> None:
        super().__init__(ndim, _affine_kinds(ndim))

    def from_components(self, components: Tensor) -> Tensor:
        """Rows of the matrix of D scales, D (D-1) / 2 angles, as many shears, and D shifts."""
        return _matrix_of_components(components, self.ndim).flatten(-2)

    def _to_map(self, theta: Tensor) -> Map:
        return LinearMap(theta.unflatten(-1, (self.ndim, self.ndim + 1)))


class Projective(Transform):
    """Theta `[N, D (D+2)]`: rows of the homogeneous matrix `[D+1, D+1]` but its last entry, which is 1.

    As components (see `Bounded`): those of `Affine`, then D perspective entries of the last row.
    """

    def __init__(self, ndim: int = 2) -> None:
        super().__init__(ndim, _affine_kinds(ndim) + ("perspective",) * ndim)

    def from_components(self, components: Tensor) -> Tensor:
        """Theta of the components of `Affine`, followed by D perspective entries."""
        affine, perspective = components[..., : -self.ndim], components[..., -self.ndim :]
        return torch.cat([_matrix_of_components(affine, self.ndim).flatten(-2), perspective], dim=-1)

    def _to_map(self, theta: Tensor) -> Map:
        square = torch.cat([theta, torch.ones_like(theta[..., :1])], dim=-1)
        return LinearMap(square.unflatten(-1, (self.ndim + 1, self.ndim + 1)))


def rotation_matrix(angles: Tensor, ndim: int) -> Tensor:
    """Rotation matrices `[..., D, D]` of an angle `[..., 1]` (2-D) or a rotation vector `[..., 3]` (3-D), radians."""
    if ndim == 1:
        return angles.new_ones(*angles.shape[:-1], 1, 1)
    if ndim == 2:
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)], dim=-2)
    x, y, z = angles.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    squared = angles.square().sum(-1)[..., None, None]
    # Rodrigues' formula, with 1 - cos t as 2 sin² (t / 2). Not matrix_exp, which torch cannot write as ONNX.
    once, twice = _sine_ratio(squared), _sine_ratio(squared / 4).square() / 2
    eye = torch.eye(3, dtype=angles.dtype, device=angles.device)
    return eye + once * cross + twice * (angles.unsqueeze(-1) * angles.unsqueeze(-2) - squared * eye)


def _sine_ratio(squared: Tensor) -> Tensor:
    """`sin(t) / t` of `t²`, with its derivatives at 0."""
    small = squared < 0.01
    series = 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42 * (1 - squared / 72)))
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    return torch.where(small, series, angle.sin() / angle)


def _affine_kinds(ndim: int) -> tuple[str, ...]:
    check_ndim(ndim)
    pairs = ndim * (ndim - 1) // 2
    return ("scale",) * ndim + ("angle",) * pairs + ("shear",) * pairs + ("translation",) * ndim


def _affine_matrix(linear: Tensor, shift: Tensor) -> Tensor:
    return torch.cat([linear, shift.unsqueeze(-1)], dim=-1)


def _matrix_of_components(components: Tensor, ndim: int) -> Tensor:
    pairs = ndim * (ndim - 1) // 2
    scales, angles, shears, shift = components.split([ndim, pairs, pairs, ndim], dim=-1)
    eye = torch.eye(ndim, dtype=components.dtype, device=components.device)
    shear = eye.expand(*components.shape[:-1], -1, -1)
    for index, (row, column) in enumerate(combinations(range(ndim), 2)):
        shear = shear + shears[..., index, None, None] * torch.outer(eye[row], eye[column])
    linear = product(rotation_matrix(angles, ndim), shear) * scales.unsqueeze(-2)
    return _affine_matrix(linear, shift)
