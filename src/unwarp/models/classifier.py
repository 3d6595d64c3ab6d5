"""A classifier behind any number of spatial transformers."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from unwarp.maps import Map
from unwarp.nn import Cascade, PerMap, SpatialTransformer


class Straightened(NamedTuple):
    """The picture in canonical pose `[N, C, *size]`, and the map that took it there (None without a transformer).

    With K maps of each picture it is `[N, K, C, *size]`, and the map has batch `(N, K)`.
    """

    image: Tensor
    pull: Map | None


class Classifier(nn.Module):
    """A cascade of spatial transformers, and a backbone that classifies what it shows.

    Args:
        backbone: a module from `[N, C, *size]`, or `[N, K, C, *size]`, to logits `[N, classes]`; for sequences of
            labels `[N, T, classes]`. If it is a `PerMap`, each crop has a label of its own.
        transformers: of the cascade; none for a plain network.
        passes: see `Cascade`.
    """

    def __init__(self, backbone: nn.Module, transformers: Sequence[SpatialTransformer] = (), passes: int = 1) -> None:
        super().__init__()
        self.cascade = Cascade(transformers, passes) if transformers else None
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, classes]` or `[N, T, classes]` of `image [N, C, *in]`."""
        return self.backbone(self.straighten(image).image)

    @property
    def labels_each_crop(self) -> bool:
        """Whether each of K crops has a label of its own; otherwise they share what is known of the picture."""
        return isinstance(self.backbone, PerMap)

    def straighten(self, image: Tensor) -> Straightened:
        """What the backbone sees of `image [N, C, *in]`."""
        if self.cascade is None:
            return Straightened(image, None)
        aligned = self.cascade.align(image)
        return Straightened(aligned.image, aligned.pull)
