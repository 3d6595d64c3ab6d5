"""Composition of maps."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from unwarp.coordinates import product
from unwarp.maps.base import Map
from unwarp.maps.linear import LinearMap


class ChainMap(Map):
    """`outer(inner(points))` for maps that do not merge into one of their own kind.

    Raises:
        TypeError, ValueError: if they do not fit together.
    """

    def __init__(self, outer: Map, inner: Map) -> None:
        _check_sides(outer, inner)
        self.outer, self.inner = outer, inner

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions D."""
        return self.outer.ndim

    @property
    def batch(self) -> tuple[int, ...]:
        """`(N,)` or `(N, K)`."""
        return tuple(torch.broadcast_shapes(self.outer.batch, self.inner.batch))

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return torch.promote_types(self.outer.dtype, self.inner.dtype)

    @property
    def device(self) -> torch.device:
        """Where the maps' tensors are."""
        return self.outer.device

    def __call__(self, points: Tensor) -> Tensor:
        """Input coordinates of `points [*batch, ..., D]`."""
        return self.outer(self.inner(points))

    def jacobian(self, points: Tensor) -> Tensor:
        """Chain rule: the outer Jacobian at the inner image, times the inner one."""
        return product(self.outer.jacobian(self.inner(points)), self.inner.jacobian(points))

    def inverse(self) -> Map:
        """The inverses in reverse order. ValueError where one of them has none."""
        return compose(self.inner.inverse(), self.outer.inverse())

    def detach(self) -> Self:
        """Both maps, cut off from the graph."""
        return type(self)(self.outer.detach(), self.inner.detach())

    def __getitem__(self, index: Any) -> Self:
        """See `Map`. A part that serves all maps of the other is repeated for it."""

        def spread(tensor: Tensor) -> Tensor:
            return tensor.expand(*self.batch, *tensor.shape[len(self.batch) :])

        return super(ChainMap, self.each(spread)).__getitem__(index)

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The chain with `change` applied to the tensors of both maps."""
        return type(self)(self.outer.each(change), self.inner.each(change))


def compose(outer: Map, inner: Map) -> Map:
    """`outer @ inner`, the map `outer(inner(points))`; linear maps merge into one matrix.

    Whole programs for `torch.compile` call this: it knows no `@` between objects other than tensors.

    Raises:
        TypeError, ValueError: if they do not fit together.
    """
    _check_sides(outer, inner)
    if isinstance(outer, LinearMap) and isinstance(inner, LinearMap):
        return outer.after(inner)
    return ChainMap(outer, inner)


def _check_sides(outer: Any, inner: Any) -> None:
    for side in (outer, inner):
        if not isinstance(side, Map):
            raise TypeError(f"a @ b: wanted a Map on both sides, got {type(side).__name__}")
    fits = outer.ndim == inner.ndim and len(outer.batch) == len(inner.batch)
    if not fits or any(a != b and 1 not in (a, b) for a, b in zip(outer.batch, inner.batch, strict=True)):
        raise ValueError(
            f"a @ b: wanted maps of the same dimension and batches that fit, got {outer.ndim}-D {outer.batch} and "
            f"{inner.ndim}-D {inner.batch}"
        )
