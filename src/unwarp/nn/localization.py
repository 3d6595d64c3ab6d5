"""Localization networks: from an image to theta, starting at the identity."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unwarp.checks import check_count, check_counts, check_positive, check_size, check_tensor
from unwarp.coordinates import identity_grid, without_autocast
from unwarp.transforms import Transform, check_transform

# Convolution, batch normalisation, max-pooling and average pooling by the number of spatial dimensions.
LAYERS: dict[int, tuple[Any, Any, Any, Any]] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d),
}


class Localization(nn.Module):
    """Features, then one linear layer to theta that starts at the identity: zero weights and an identity bias.

    Args:
        features: a module from `[N, C, *in]` to `[N, num_features]`, or `[N, K, num_features]` for K maps of each image
            with features of their own.
        num_features: how many features it gives.
        transform: the transform that theta feeds.
        perturbation: standard deviation of the last layer's first weights; 0 starts exactly at the start.
        start: the first theta `[P]`, or `[K, P]` for K maps of each image that share their features; the identity if
            None. See `tiles`.

    Attributes:
        theta_shape: `(P,)` or `(K, P)`.

    Raises:
        TypeError, ValueError: for what is no transform, a start of another shape, no features, or a negative
            perturbation.
    """

    def __init__(
        self,
        features: nn.Module,
        num_features: int,
        transform: Transform,
        *,
        perturbation: float = 0.0,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_count("num_features", num_features)
        check_positive("perturbation", perturbation, allow_zero=True)
        check_transform(transform)
        start = transform.identity if start is None else start
        check_tensor("start", start)
        if start.ndim not in (1, 2) or start.shape[-1] != transform.num_params or 0 in start.shape:
            wanted = f"[{transform.num_params}] or [K, {transform.num_params}]"
            raise ValueError(f"start: wanted {wanted} for {transform!r}, got {list(start.shape)}")
        self.features = features
        self.head = nn.Linear(num_features, start.numel())
        self.theta_shape = tuple(start.shape)
        nn.init.normal_(self.head.weight, std=perturbation) if perturbation else nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(start.flatten())

    def forward(self, image: Tensor) -> Tensor:
        """Theta `[N, P]` or `[N, K, P]`; in full precision under autocast too, as it is a coordinate."""
        features = self.features(image)
        with without_autocast(image.device):
            theta = self.head(features.to(self.head.weight.dtype))
        return theta if len(self.theta_shape) == 1 else theta.unflatten(-1, self.theta_shape)


class CentroidLocalization(nn.Module):
    """Where to look: the centroid of a heatmap, as theta of a `Translation` (arXiv 1709.01889, section 3.2).

    A convolution of 1×1 gives every place of the features a weight, a softmax makes a distribution of them, and its
    mean is the shift. Features that move with their object move the shift by as much, wherever the object is, so that
    little has to be learned. It starts with equal weights, the identity.

    Args:
        features: a module from `[N, C, *in]` to `[N, num_features, *places]`, of places that cover the image evenly.
        num_features: how many features it gives.
        sharpness: a factor of the logits. Each of many places has a small part in the centroid; without the factor the
            rest of a network learns to do without a shift before there is one.

    Raises:
        TypeError, ValueError: for no features, or a sharpness that is not over 0.
    """

    def __init__(self, features: nn.Module, num_features: int, *, sharpness: float = 10.0) -> None:
        super().__init__()
        check_count("num_features", num_features)
        check_positive("sharpness", sharpness)
        self.features = features
        self.sharpness = sharpness
        self.head = nn.Linear(num_features, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def heatmap(self, image: Tensor) -> Tensor:
        """The weights `[N, *places]`, which sum to 1."""
        features = self.features(image)
        with without_autocast(image.device):
            logits = self.sharpness * self.head(features.to(self.head.weight.dtype).movedim(1, -1)).squeeze(-1)
            return logits.flatten(1).softmax(1).unflatten(1, logits.shape[1:])

    def forward(self, image: Tensor) -> Tensor:
        """Theta `[N, D]`."""
        weights = self.heatmap(image)
        places = identity_grid(weights.shape[1:], dtype=weights.dtype, device=weights.device)
        return (weights.unsqueeze(-1) * places).flatten(1, -2).sum(1)


def check_images(in_shape: Any, transform: Any) -> None:
    """Raise unless `in_shape` is `(C, *in)` with as many spatial axes as `transform` has."""
    check_transform(transform)
    check_size(in_shape, transform.ndim + 1, "in_shape")


def check_convolutions(in_shape: Any, channels: Any) -> None:
    """Raise unless `in_shape` is `(C, *in)` of 1 to 3 spatial axes, and `channels` are those of one layer or more."""
    if not isinstance(in_shape, Sequence) or not 2 <= len(in_shape) <= 4:
        raise ValueError(f"in_shape: wanted (C, *in) with 1 to 3 spatial axes, got {in_shape}")
    check_size(in_shape, len(in_shape), "in_shape")
    check_counts("channels", channels)
    if not channels:
        raise ValueError("channels: wanted at least one convolution, got none")


def fully_connected(
    in_shape: Sequence[int],
    transform: Transform,
    *,
    hidden: Sequence[int] = (32, 32, 32),
    normalize: bool = False,
    perturbation: float = 0.0,
    start: Tensor | None = None,
) -> Localization:
    """The localization network of the paper's ST-FCN (arXiv 1506.02025, A.4): three hidden layers of 32 units.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        transform: the transform that theta feeds.
        hidden: units of each hidden layer.
        normalize: whether a batch normalisation follows each hidden layer; needs batches of two and more.
        perturbation: see `Localization`.
        start: see `Localization`.

    Raises:
        TypeError, ValueError: for images of another dimension than the transform's, or a layer without units.
    """
    check_images(in_shape, transform)
    check_counts("hidden", hidden)
    widths = [_count(in_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers.append(nn.Linear(before, after, bias=not normalize))
        layers += [nn.BatchNorm1d(after), nn.ReLU()] if normalize else [nn.ReLU()]
    return Localization(nn.Sequential(*layers), widths[-1], transform, perturbation=perturbation, start=start)


def convolutional(
    in_shape: Sequence[int],
    transform: Transform,
    *,
    channels: Sequence[int] = (20, 20),
    kernel: int = 5,
    hidden: int = 20,
    normalize: bool = False,
    perturbation: float = 0.0,
    start: Tensor | None = None,
) -> Localization:
    """The localization network of the paper's ST-CNN (arXiv 1506.02025, A.4), for images of any size.

    The input is averaged down by 2; each convolution is followed by a 2× max-pooling while there is room for it.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        transform: the transform that theta feeds.
        channels: of each convolution.
        kernel: of each convolution, odd; padded, so that small images keep their extent.
        hidden: units of the fully connected layer.
        normalize: whether a batch normalisation follows each convolution and the fully connected layer, whose units
            then cannot all die; needs batches of two and more.
        perturbation: see `Localization`.
        start: see `Localization`.

    Raises:
        TypeError, ValueError: for an even kernel, a layer without units, or images of another dimension than the
            transform's.
    """
    check_count("kernel", kernel)
    if kernel % 2 != 1:
        raise ValueError(f"kernel: wanted an odd number, got {kernel}")
    check_counts("channels", channels)
    check_count("hidden", hidden)
    check_images(in_shape, transform)
    convolution, norm, pool, average = LAYERS[len(in_shape) - 1]
    size = list(in_shape[1:])
    layers: list[nn.Module] = []

    def halve(pooling: Any) -> None:
        if min(size) >= 8:
            layers.append(pooling(2))
            size[:] = [extent // 2 for extent in size]

    halve(average)
    before = in_shape[0]
    for after in channels:
        layers.append(convolution(before, after, kernel, padding=kernel // 2, bias=not normalize))
        halve(pool)
        layers += [norm(after), nn.ReLU()] if normalize else [nn.ReLU()]
        before = after
    layers += [nn.Flatten(), nn.Linear(_count([before, *size]), hidden, bias=not normalize)]
    layers += [nn.BatchNorm1d(hidden), nn.ReLU()] if normalize else [nn.ReLU()]
    return Localization(nn.Sequential(*layers), hidden, transform, perturbation=perturbation, start=start)


def centroid(in_shape: Sequence[int], *, channels: Sequence[int] = (16, 32, 32)) -> CentroidLocalization:
    """A convolutional network that finds an object in images of any size, for `Translation`.

    The input is averaged down by 2, and again by max-pooling after the first convolution of 5×5, where its extents are
    even; convolutions of 3×3 follow, each with batch normalisation. A place of the heatmap is 4 pixels wide, sees 28.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        channels: of each convolution.
    """
    check_convolutions(in_shape, channels)
    convolution, norm, pool, average = LAYERS[len(in_shape) - 1]
    size = list(in_shape[1:])
    layers: list[nn.Module] = []

    def halve(pooling: Any) -> None:
        # Only evenly: the places must cover the image.
        factors = [2 if extent % 2 == 0 and extent >= 8 else 1 for extent in size]
        layers.append(pooling(tuple(factors)))
        size[:] = [extent // factor for extent, factor in zip(size, factors, strict=True)]

    halve(average)
    for index, (before, after) in enumerate(pairwise([in_shape[0], *channels])):
        kernel = 5 if index == 0 else 3
        layers.append(convolution(before, after, kernel, padding=kernel // 2, bias=False))
        if index == 0:
            halve(pool)
        layers += [norm(after), nn.ReLU()]
    return CentroidLocalization(nn.Sequential(*layers), channels[-1])


def _count(shape: Sequence[int]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
