"""Any transform, kept within a range."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_positive
from unwarp.maps import Map
from unwarp.transforms.base import Transform, check_transform

# Of the logarithm of a scale: that of 10^13, which squares and products survive in single precision.
_FARTHEST = 30.0


class Bounded(Transform):
    """Theta `[N, P]` without limits, 0 at the identity; the components of `transform` stay within the given ranges.

    Every component is a smooth, increasing function of its theta with slope 1 at the identity: `b tanh(theta / b)`, for
    scales taken in the logarithm. A component whose kind has no range is left free (scales stay positive).

    Args:
        transform: the family to keep in bounds.
        scale: the smallest and largest scale; smallest < 1 < largest.
        angle: the largest angle, in radians, each way.
        shear: the largest shear.
        translation: the largest shift, in half extents of the picture.
        perspective: the largest perspective entry; under 1 / D the horizon stays outside the picture.
        offset: the largest offset of a control point.

    Raises:
        TypeError, ValueError: for what is no transform, an empty range, or one for a kind that it does not have.
    """

    def __init__(
        self,
        transform: Transform,
        *,
        scale: Sequence[float] | None = None,
        angle: float | None = None,
        shear: float | None = None,
        translation: float | None = None,
        perspective: float | None = None,
        offset: float | None = None,
    ) -> None:
        check_transform(transform)
        super().__init__(transform.ndim, transform.kinds)
        self.transform = transform
        reach: dict[str, tuple[float, float]] = {}
        if scale is not None:
            if not isinstance(scale, Sequence) or len(scale) != 2:
                raise ValueError(f"scale: wanted (smallest, largest), got {scale}")
            for bound in scale:
                check_positive("scale", bound)
            if not scale[0] < 1 < scale[1]:
                raise ValueError(f"scale: wanted (smallest, largest) with smallest < 1 < largest, got {scale}")
            reach["scale"] = (-math.log(scale[0]), math.log(scale[1]))
        symmetric = {
            "angle": angle,
            "shear": shear,
            "translation": translation,
            "perspective": perspective,
            "offset": offset,
        }
        for kind, bound in symmetric.items():
            if bound is None:
                continue
            check_positive(kind, bound)
            reach[kind] = (bound, bound)
        for kind in reach:
            if kind not in transform.kinds:
                raise ValueError(
                    f"{kind}: wanted a bound for one of {sorted(set(transform.kinds))}, which {transform} has"
                )
        self._reach = reach

    @property
    def identity(self) -> Tensor:
        """Zeros `[P]`."""
        return torch.zeros(self.num_params, dtype=torch.float32)

    def components(self, theta: Tensor) -> Tensor:
        """The bounded components `[..., P]` of `theta`."""
        columns = []
        for value, kind in zip(theta.unbind(-1), self.kinds, strict=True):
            if kind in self._reach:
                low, high = self._reach[kind]
                value = torch.where(value < 0, low * torch.tanh(value / low), high * torch.tanh(value / high))
            # Where a scale is not bounded, it stays a finite number, and so does what is computed with it.
            columns.append(value.clamp(-_FARTHEST, _FARTHEST).exp() if kind == "scale" else value)
        return torch.stack(columns, dim=-1)

    def from_components(self, components: Tensor) -> Tensor:
        """The theta `[..., P]` whose components are these. ValueError for components on or beyond their bounds."""
        columns = []
        for value, kind in zip(components.unbind(-1), self.kinds, strict=True):
            value = value.log() if kind == "scale" else value
            if kind in self._reach:
                low, high = self._reach[kind]
                value = torch.where(value < 0, low * torch.atanh(value / low), high * torch.atanh(value / high))
            columns.append(value)
        theta = torch.stack(columns, dim=-1)
        if not torch.isfinite(theta).all():
            raise ValueError(f"components: wanted some within the bounds of {self!r}, got {components.tolist()}")
        return theta

    def _to_map(self, theta: Tensor) -> Map:
        return self.transform(self.transform.from_components(self.components(theta)))

    def __repr__(self) -> str:
        return f"Bounded({self.transform!r}, {', '.join(sorted(self._reach))})"
