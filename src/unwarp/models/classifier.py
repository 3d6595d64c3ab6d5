"""A classifier behind any number of spatial transformers."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from unwarp.maps import Map
from unwarp.nn import SpatialTransformer


class Straightened(NamedTuple):
    """The picture in canonical pose `[N, C, *size]`, and the map that took it there (None without a transformer)."""

    image: Tensor
    pull: Map | None


class Classifier(nn.Module):
    """Spatial transformers, one after the other, and a backbone that classifies what they show.

    Every transformer looks at the output of the one before it; the maps are composed, so that each reads the original
    image and nothing is resampled twice.

    Args:
        backbone: a module from `[N, C, *size]` to logits `[N, classes]`.
        transformers: none for a plain network.
    """

    def __init__(self, backbone: nn.Module, transformers: Sequence[SpatialTransformer] = ()) -> None:
        super().__init__()
        self.transformers = nn.ModuleList(transformers)
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, classes]` of `image [N, C, *in]`."""
        return self.backbone(self.straighten(image).image)

    def straighten(self, image: Tensor) -> Straightened:
        """What the backbone sees of `image [N, C, *in]`."""
        seen, pull = image, None
        for transformer in self.transformers:
            assert isinstance(transformer, SpatialTransformer)
            _, step = transformer.locate(seen)
            pull = step if pull is None else pull @ step
            seen = transformer.warp(image, pull)
        return Straightened(seen, pull)
