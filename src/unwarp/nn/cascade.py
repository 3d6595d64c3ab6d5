"""Several spatial transformers after each other, as one map (IC-STN, arXiv 1612.03897)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwarp.checks import check_count, check_image, check_positive
from unwarp.maps import LinearMap, Map
from unwarp.nn.spatial_transformer import SpatialTransformer


class Cascaded(NamedTuple):
    """What a cascade did: the warped image, the theta of each pass, and the composed map after each of them."""

    image: Tensor
    thetas: tuple[Tensor, ...]
    pulls: tuple[Map, ...]

    @property
    def pull(self) -> Map:
        """The map of the whole cascade."""
        return self.pulls[-1]


class Cascade(nn.Module):
    """Spatial transformers that each look at the output of the one before, and correct it.

    Their maps are composed, and every pass reads the original image through all of them so far: nothing is resampled
    twice, and what an earlier pass left outside can come back.

    Args:
        transformers: at least one, in their order.
        passes: how often they are gone through. One transformer and four passes is the paper's IC-STN-4, whose passes
            share one localization network. With more than one, or a window, the first sees the image at the size of the
            last transformer, as it does from then on: one network for all wants one size.
        window: width and height of the part of the image, around its centre, that the first transformer sees. What lies
            around it is there for the later ones: no corner is lost to a crop that was made too early.

    Raises:
        TypeError: for a module that is no `SpatialTransformer`, or `passes` that are no integer.
        ValueError: for no transformer, `passes` under 1, or a window that is not over 0.
    """

    def __init__(self, transformers: Iterable[SpatialTransformer], passes: int = 1, *, window: float = 1.0) -> None:
        super().__init__()
        transformers = list(transformers)
        if not transformers:
            raise ValueError("transformers: wanted at least one, got none")
        for transformer in transformers:
            if not isinstance(transformer, SpatialTransformer):
                raise TypeError(f"transformers: wanted SpatialTransformers, got {type(transformer).__name__}")
        check_count("passes", passes)
        check_positive("window", window)
        self.transformers = nn.ModuleList(transformers)
        self.passes, self.window = passes, window

    def forward(self, image: Tensor) -> Tensor:
        """The image `[N, C, *in]` in canonical pose, `[N, C, *size]`, with the size of the last transformer."""
        return self.align(image).image

    def align(self, image: Tensor) -> Cascaded:
        """The warped image with what led to it. ValueError for several maps of an image, unless it is one alone."""
        check_image(image)
        start = self._start(image)
        last = self.transformers[-1]
        assert isinstance(last, SpatialTransformer)
        whole = self.window == 1 and (self.passes == 1 or last.size in (None, tuple(image.shape[2:])))
        seen = image if whole else last.warp(image, start)
        thetas, pulls = [], []
        for _ in range(self.passes):
            for transformer in self.transformers:
                assert isinstance(transformer, SpatialTransformer)
                before = pulls[-1] if pulls else None if self.window == 1 else start
                alone = before is None and len(self.transformers) * self.passes == 1
                theta = transformer.localization(seen)
                if isinstance(theta, Tensor) and theta.ndim > 2 and not alone:
                    raise ValueError(f"transformers: wanted one map of each image in a cascade, got {theta.shape[1]}")
                theta, pull = transformer.place(theta, before)
                thetas.append(theta)
                pulls.append(pull)
                seen = transformer.warp(image, pull)
        return Cascaded(seen, tuple(thetas), tuple(pulls))

    def _start(self, image: Tensor) -> Map:
        ndim = image.ndim - 2
        dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
        zoom = self.window * torch.eye(ndim, ndim + 1, dtype=dtype, device=image.device)
        return LinearMap(zoom.expand(image.shape[0], -1, -1))
