"""Localization networks: from an image to theta, starting at the identity."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unwarp.checks import check_positive
from unwarp.nn.spatial_transformer import SpatialTransformer
from unwarp.transforms import Transform


class Localization(nn.Module):
    """Features, then one linear layer to theta that starts at the identity: zero weights and an identity bias.

    Args:
        features: a module from `[N, C, *in]` to `[N, num_features]`.
        num_features: how many features it gives.
        transform: the transform that theta feeds.
        perturbation: standard deviation of the last layer's first weights; 0 starts exactly at the identity.
    """

    def __init__(
        self, features: nn.Module, num_features: int, transform: Transform, *, perturbation: float = 0.0
    ) -> None:
        super().__init__()
        check_positive("perturbation", perturbation, allow_zero=True)
        self.features = features
        self.head = nn.Linear(num_features, transform.num_params)
        nn.init.normal_(self.head.weight, std=perturbation) if perturbation else nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(transform.identity)

    def forward(self, image: Tensor) -> Tensor:
        """Theta `[N, P]`. Under autocast the last layer stays in full precision: theta is a coordinate."""
        features = self.features(image)
        with torch.autocast(image.device.type, enabled=False):
            return self.head(features.to(self.head.weight.dtype))


def fully_connected(
    in_shape: Sequence[int],
    transform: Transform,
    *,
    hidden: Sequence[int] = (32, 32, 32),
    perturbation: float = 0.0,
) -> Localization:
    """The localization network of the paper's ST-FCN (arXiv 1506.02025, A.4): three hidden layers of 32 units.

    Args:
        in_shape: `(C, *in)`, the shape of one image.
        transform: the transform that theta feeds.
        hidden: units of each hidden layer.
        perturbation: see `Localization`.
    """
    widths = [_count(in_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return Localization(nn.Sequential(*layers), widths[-1], transform, perturbation=perturbation)


def convolutional(
    in_shape: Sequence[int],
    transform: Transform,
    *,
    channels: Sequence[int] = (20, 20),
    kernel: int = 5,
    hidden: int = 20,
    normalize: bool = False,
    perturbation: float = 0.0,
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
    """
    ndim = len(in_shape) - 1
    convolution, norm, pool, average = {
        1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d),
        2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d),
        3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d),
    }[ndim]
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
    return Localization(nn.Sequential(*layers), hidden, transform, perturbation=perturbation)


def parameter_groups(model: nn.Module, *, lr: float, localization_factor: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, with a learning rate of their own for all localization networks in `model`.

    That is every `Localization`, and whatever a `SpatialTransformer` has for one.
    Too large a step of theta throws the picture out of the output, and the gradient with it; the paper's factor for
    SVHN is 0.1, for birds 1e-4 (arXiv 1506.02025, A.5 and A.6).
    """
    check_positive("lr", lr)
    check_positive("localization_factor", localization_factor, allow_zero=True)
    networks: list[nn.Module] = [m for m in model.modules() if isinstance(m, Localization)]
    networks += [m.localization for m in model.modules() if isinstance(m, SpatialTransformer)]
    special = {id(parameter) for parameter in _parameters(networks)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in special]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": lr, "name": "network"}]
    if special:
        found = list(dict.fromkeys(_parameters(networks)))
        groups.append({"params": found, "lr": lr * localization_factor, "name": "localization"})
    return groups


def _parameters(modules: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    return (parameter for module in modules for parameter in module.parameters())


def _count(shape: Sequence[int]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
