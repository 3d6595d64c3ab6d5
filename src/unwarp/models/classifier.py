"""A classifier behind any number of spatial transformers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwarp.checks import check_count
from unwarp.maps import Map
from unwarp.nn import (
    Cascade,
    PerMap,
    ProbabilisticLocalization,
    SpatialTransformer,
    ThetaDistribution,
    average_predictions,
    seen_from_front,
)

_DRAWS_SEED = 4_000_000


class Straightened(NamedTuple):
    """What a classifier saw of its images.

    Attributes:
        image: the picture in canonical pose `[N, C, *size]`; without a transformer, the picture itself. With K maps of
            each picture it is `[N, K, C, *size]`.
        pull: the map that took it there, of batch `(N,)` or `(N, K)`; None without a transformer.
        distribution: that of theta, if it is one.
        draws: `[N, S, C, *size]`, the picture through maps drawn from it, in evaluation.
    """

    image: Tensor
    pull: Map | None
    distribution: ThetaDistribution | None = None
    draws: Tensor | None = None

    @property
    def picture(self) -> Tensor:
        """The image to look at, `[N, C, H, W]` or `[N, K, C, H, W]`: a volume from the front."""
        several = self.pull is not None and len(self.pull.batch) > 1
        return self.image if several else seen_from_front(self.image)


def _draws(transformer: nn.Module) -> bool:
    """Whether a spatial transformer draws its theta."""
    return isinstance(transformer.localization, ProbabilisticLocalization)


class Classifier(nn.Module):
    """A cascade of spatial transformers, and a backbone that classifies what it shows.

    A single transformer whose localization network predicts a distribution (`ProbabilisticLocalization`) shows, in
    training, a picture through a map drawn from it. In evaluation it shows the picture through the mean, and the
    backbone's probabilities are averaged over several draws, the same for every picture and at every call.

    Args:
        backbone: a module from `[N, C, *size]`, or `[N, K, C, *size]`, to logits `[N, classes]`; for sequences of
            labels `[N, T, classes]`. If it is a `PerMap`, each crop has a label of its own.
        transformers: of the cascade; none for a plain network.
        passes: see `Cascade`.
        samples: how many maps are drawn in evaluation from a predicted distribution.
        window: see `Cascade`.

    Raises:
        TypeError, ValueError: for less than one pass or draw, or a probabilistic transformer that is not alone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        transformers: Sequence[SpatialTransformer] = (),
        passes: int = 1,
        samples: int = 10,
        *,
        window: float = 1.0,
    ) -> None:
        super().__init__()
        check_count("samples", samples)
        self.cascade = Cascade(transformers, passes, window=window) if transformers else None
        self.backbone = backbone
        self.samples = samples
        if any(_draws(t) for t in transformers) and (len(transformers), passes, window) != (1, 1, 1):
            raise ValueError(
                "transformers: wanted a probabilistic one alone, with one pass and no window, got "
                f"{len(transformers)} transformers, {passes} passes and window {window}"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, classes]` or `[N, T, classes]` of `image [N, C, *in]`."""
        return self.classify(self.straighten(image))

    def straighten(self, image: Tensor) -> Straightened:
        """What the backbone sees of `image [N, C, *in]`."""
        if self.cascade is None:
            return Straightened(image, None)
        first = self.cascade.transformers[0]
        if _draws(first):
            return self._draw(first, image)
        aligned = self.cascade.align(image)
        return Straightened(aligned.image, aligned.pull)

    def classify(self, seen: Straightened) -> Tensor:
        """Logits `[N, classes]` or `[N, T, classes]` of what `straighten` gave."""
        if seen.draws is None:
            return self.backbone(seen.image)
        logits = self.backbone(seen.draws.flatten(0, 1)).unflatten(0, seen.draws.shape[:2])
        return average_predictions(logits.float())

    @property
    def labels_each_crop(self) -> bool:
        """Whether each of K crops has a label of its own; otherwise they share what is known of the picture."""
        return isinstance(self.backbone, PerMap)

    def _draw(self, transformer: nn.Module, image: Tensor) -> Straightened:
        assert isinstance(transformer, SpatialTransformer)
        assert isinstance(transformer.localization, ProbabilisticLocalization)
        distribution = transformer.localization.predict(image)
        theta = distribution.draw(1).squeeze(1) if self.training else distribution.mean
        _, pull = transformer.place(theta)
        seen = Straightened(transformer.warp(image, pull), pull, distribution)
        if self.training:
            return seen
        generator = torch.Generator(device=image.device).manual_seed(_DRAWS_SEED)
        _, drawn = transformer.place(distribution.draw(self.samples, generator, alike=True))
        return seen._replace(draws=transformer.warp(image, drawn))
