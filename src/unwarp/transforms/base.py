"""What every transform can do."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from unwarp.checks import check_ndim, check_theta
from unwarp.coordinates import without_autocast
from unwarp.maps import Map

# What a component of theta is, so that bounds can be given by type; see `Bounded`.
KINDS = ("scale", "angle", "shear", "translation", "perspective", "offset")


class Transform(nn.Module, ABC):
    """A family of maps: called on theta `[N, P]`, or `[N, K, P]`, it gives a `Map`.

    It keeps nothing of what it is called on. It is a module only so that its constants follow `.to(device)` and learned
    control points are found by an optimiser.

    Args:
        ndim: number of spatial dimensions, 1 to 3.
        kinds: for each of the P components, in order, one of `KINDS`.
    """

    def __init__(self, ndim: int, kinds: tuple[str, ...]) -> None:
        super().__init__()
        check_ndim(ndim)
        self.ndim = ndim
        self.kinds = kinds

    @property
    def num_params(self) -> int:
        """P, the length of theta."""
        return len(self.kinds)

    @property
    def identity(self) -> Tensor:
        """Theta `[P]` of the identity map, float32."""
        components = torch.tensor([float(kind == "scale") for kind in self.kinds], dtype=torch.float32)
        return self.from_components(components.unsqueeze(0)).squeeze(0)

    def from_components(self, components: Tensor) -> Tensor:
        """Theta `[..., P]` of a map given by components of the kinds `self.kinds`: scales, angles, translations, ..."""
        return components

    def forward(self, theta: Tensor) -> Map:
        """The maps of `theta [N, P]` or `[N, K, P]`, any floating dtype; computed in float32 or wider.

        Raises:
            TypeError, ValueError: if theta is not of that form.
        """
        check_theta(theta, self.num_params, repr(self))
        with without_autocast(theta.device):
            return self._to_map(theta.to(torch.promote_types(theta.dtype, torch.float32)))

    @abstractmethod
    def _to_map(self, theta: Tensor) -> Map: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ndim={self.ndim})"


def check_transform(value: Any) -> None:
    """Raise TypeError unless the argument `transform` is one, and not the class of one."""
    if not isinstance(value, Transform):
        raise TypeError(f"transform: wanted an unwarp.Transform, got {value!r}")
