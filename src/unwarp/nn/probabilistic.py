"""Probabilistic spatial transformers: a distribution of theta instead of one theta (Schwöbel et al., UAI 2022)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwarp.checks import check_count, check_positive, check_tensor
from unwarp.coordinates import without_autocast
from unwarp.nn.localization import Localization


class ThetaDistribution(NamedTuple):
    """Independent Student t distributions of the entries of theta.

    The precision of each entry is drawn from Gamma(alpha, beta), and the entry from a normal of that precision about
    `mean`. Its scale is then `spread = sqrt(beta / alpha)`, and it has `freedom = 2 alpha` degrees of freedom.

    Attributes:
        mean: `[N, P]`.
        spread: `[N, P]`, over 0.
        freedom: the same for all entries; under 3 the variance is infinite.
    """

    mean: Tensor
    spread: Tensor
    freedom: int

    def draw(self, count: int, generator: torch.Generator | None = None, *, alike: bool = False) -> Tensor:
        """`count` thetas for each image, `[N, count, P]`, differentiable in mean and spread.

        Args:
            count: how many.
            generator: of the random numbers.
            alike: whether all images get the same, so that those of one do not depend on which others there are.

        TypeError or ValueError unless `count` is an integer of at least 1.
        """
        check_count("count", count)
        images = 1 if alike else self.mean.shape[0]
        shape = (1 + self.freedom, images, count, self.mean.shape[1])
        normal = torch.randn(shape, dtype=self.mean.dtype, device=self.mean.device, generator=generator)
        # A Gamma of a whole number of halves is a sum of squared normals, which all devices can draw from a seed.
        precision = normal[1:].square().mean(0).clamp_min(torch.finfo(normal.dtype).tiny)
        standard = normal[0] / precision.sqrt()
        return self.mean.unsqueeze(1) + self.spread.unsqueeze(1) * standard

    def divergence(self, spread: float) -> Tensor:
        """Kullback-Leibler divergence `[N]` of the precisions from those of a prior with that spread; 0 if they agree.

        The sum over the entries of theta. The mean is free: the prior says how sure one may be, not of what.
        ValueError unless `spread` is over 0.
        """
        check_positive("spread", spread)
        ratio = (self.spread / spread).square()
        return self.freedom / 2 * (ratio.log() + 1 / ratio - 1).sum(-1)


class ProbabilisticLocalization(nn.Module):
    """Predicts a distribution of theta, in the place of a localization network that predicts one.

    In training it gives a theta drawn from the distribution, in evaluation the mean; so a `SpatialTransformer` takes it
    like any other. To draw several, and for the divergence from the prior, use the distribution itself:

        distribution = localization.predict(image)
        theta, pull = transformer.place(distribution.draw(10))   # [N, 10, P]: ten maps of each image
        crops = transformer.warp(image, pull)                    # [N, 10, C, *size]
        loss = task_loss + weight * distribution.divergence(1.0).mean()

    Args:
        localization: predicts the mean, and with the same features the spread.
        spread: of every entry of theta before any training.
        freedom: degrees of freedom of the Student t distributions. The authors' code has 2.

    Raises:
        TypeError, ValueError: unless spread is over 0 and freedom an integer of at least 1, or for what is no
            `Localization` of one map of each image.
    """

    def __init__(self, localization: Localization, *, spread: float = 0.1, freedom: int = 2) -> None:
        super().__init__()
        check_positive("spread", spread)
        check_count("freedom", freedom)
        if not isinstance(localization, Localization):
            raise TypeError(f"localization: wanted an unwarp.nn.Localization, got {type(localization).__name__}")
        if len(localization.theta_shape) > 1:
            raise ValueError(f"localization: wanted one map of each image, got {localization.theta_shape[0]}")
        self.localization = localization
        self.freedom = freedom
        self.log_spread = nn.Linear(localization.head.in_features, localization.head.out_features)
        nn.init.zeros_(self.log_spread.weight)
        nn.init.constant_(self.log_spread.bias, math.log(spread))

    def predict(self, image: Tensor) -> ThetaDistribution:
        """The distribution of theta for `image [N, C, *in]`. ValueError for several maps of an image."""
        head = self.localization.head
        features = self.localization.features(image)
        with without_autocast(image.device):
            features = features.to(head.weight.dtype)
            if features.ndim != 2:
                raise ValueError(f"localization: wanted one map of each image, got features {list(features.shape)}")
            return ThetaDistribution(head(features), self.log_spread(features).exp(), self.freedom)

    def forward(self, image: Tensor) -> Tensor:
        """Theta `[N, P]`: drawn in training, the mean in evaluation."""
        distribution = self.predict(image)
        return distribution.draw(1).squeeze(1) if self.training else distribution.mean


def average_predictions(logits: Tensor) -> Tensor:
    """The logarithm `[N, ..., classes]` of the mean probabilities of S `logits [N, S, ..., classes]`.

    Raises:
        TypeError, ValueError: for what is no tensor, or has no axis of draws.
    """
    check_tensor("logits", logits)
    if logits.ndim < 3 or logits.shape[1] == 0:
        raise ValueError(f"logits: wanted [N, S, ..., classes] with at least one draw, got {list(logits.shape)}")
    return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
