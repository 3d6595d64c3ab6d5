"""What every map can do."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from unwarp.checks import check_size
from unwarp.coordinates import identity_grid


class Map(ABC):
    """A batch of functions from output to input coordinates (a *pull* map), `[N]` or `[N, K]` of them.

    `a @ b` is the map that applies `b` first: warping by `a` and the result by `b` is warping once by `a @ b`.
    """

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Number of spatial dimensions D."""

    @property
    @abstractmethod
    def batch(self) -> tuple[int, ...]:
        """`(N,)` or `(N, K)`."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """float32 or float64."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the map's tensors are."""

    @abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Input coordinates of the output `points [*batch, ..., D]`, of the same shape.

        The batch axes of `points` may be 1, for points that all maps share. ValueError if the shape does not fit.
        """

    @abstractmethod
    def jacobian(self, points: Tensor) -> Tensor:
        """Derivatives `[*batch, ..., D, D]` at `points [*batch, ..., D]`: row i holds those of coordinate i."""

    @abstractmethod
    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same kind of map with `change` applied to each of its batched tensors."""

    def grid(self, size: Sequence[int]) -> Tensor:
        """Input coordinates `[*batch, *size, D]` of every pixel centre of an output of that size."""
        return self(self.centers(size))

    def centers(self, size: Sequence[int]) -> Tensor:
        """Output coordinates `[1, ..., *size, D]` of every pixel centre, the same for all maps of the batch."""
        check_size(size, self.ndim)
        points = identity_grid(size, dtype=self.dtype, device=self.device)
        return points.reshape(*(1 for _ in self.batch), *size, self.ndim)

    def inverse(self) -> "Map":
        """The map from input to output coordinates. ValueError where it has no closed form or does not exist."""
        raise ValueError(f"inverse: wanted a map with a closed-form inverse, got {type(self).__name__}")

    def detach(self) -> Self:
        """The same map, cut off from the graph."""
        return self.each(torch.Tensor.detach)

    def __getitem__(self, index: Any) -> Self:
        """Maps chosen along the batch axes by a number, slice, mask or index tensor; the batch axis stays.

        Raises:
            IndexError: for a number that no map has, or more indices than there are batch axes.
        """
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) > len(self.batch) or any(i is ... or i is None for i in indices):
            raise IndexError(f"index: wanted one for each of the batch axes {tuple(self.batch)} at most, got {index}")
        chosen = tuple(_along(i, count) for i, count in zip(indices, self.batch, strict=False))
        return self.each(lambda tensor: tensor[chosen])

    def __matmul__(self, other: "Map") -> "Map":
        from unwarp.maps.chain import compose  # chain imports this file

        return compose(self, other)


def check_map(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a map."""
    if not isinstance(value, Map):
        has_one = isinstance(getattr(value, "pull", None), Map)
        raise TypeError(f"{name}: wanted an unwarp.Map, got {type(value).__name__}" + ("; its .pull is one" * has_one))


def _along(index: Any, count: int) -> Any:
    """An index that keeps its axis, of `count` maps."""
    if not hasattr(index, "__index__") or getattr(index, "ndim", 0) > 0:
        return index
    number = operator.index(index)
    if not -count <= number < count:
        raise IndexError(f"index: wanted one of {count} maps, got {number}")
    return slice(number, number + 1 or None)
