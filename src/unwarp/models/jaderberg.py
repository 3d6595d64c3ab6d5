"""The classification networks of the spatial transformer paper (arXiv 1506.02025, A.4).

The paper gives every network "around 400k parameters" and 32 to 64 filters per layer, which cannot both hold for the
convolutional one; here the width follows from the number of parameters asked for.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_WIDEST = 4096


def fcn(
    in_shape: Sequence[int],
    num_classes: int,
    *,
    parameters: int = 400_000,
    dropout: float = 0.0,
    normalize: bool = False,
) -> nn.Module:
    """Two hidden layers and a classifier, fully connected, as wide as `parameters` allow, for images `(C, H, W)`.

    Args:
        in_shape: `(C, H, W)` of the images.
        num_classes: number of classes.
        parameters: about how many it may have.
        dropout: before the last layer.
        normalize: whether a batch normalisation, which the paper does not have, follows each hidden layer.

    Raises:
        ValueError: for fewer parameters than the narrowest has.
    """

    def make(width: int) -> nn.Module:
        pixels = in_shape[0] * in_shape[1] * in_shape[2]
        layers: list[nn.Module] = [nn.Flatten()]
        for before in (pixels, width):
            layers.append(nn.Linear(before, width, bias=not normalize))
            layers += [nn.BatchNorm1d(width), nn.ReLU()] if normalize else [nn.ReLU()]
        return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(width, num_classes))

    return make(_width(make, parameters))


def cnn(
    in_shape: Sequence[int],
    num_classes: int,
    *,
    parameters: int = 400_000,
    dropout: float = 0.0,
    normalize: bool = False,
    change: Callable[[nn.Sequential], nn.Sequential] = lambda network: network,
) -> nn.Sequential:
    """Convolutions of 9×9 and 7×7, each with 2× max-pooling, and a classifier, for images `(C, H, W)` of 24 and more.

    Args:
        in_shape: `(C, H, W)` of the images.
        num_classes: number of classes.
        parameters: about how many it may have.
        dropout: before the last layer.
        normalize: whether a batch normalisation, which the paper does not have, follows each pooling.
        change: what is made of the network; its parameters count.

    Raises:
        ValueError: for smaller images, or fewer parameters than the narrowest has.
    """
    size = [((extent - 8) // 2 - 6) // 2 for extent in in_shape[1:]]
    if min(size) < 1:
        raise ValueError(f"in_shape: wanted images of at least 24×24 for the paper's CNN, got {tuple(in_shape)}")

    def make(width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, kernel in ((in_shape[0], 9), (width, 7)):
            layers.append(nn.Conv2d(before, width, kernel, bias=not normalize))
            # Normalised after the pooling, there is a quarter of the work, and a rectifier after it does the same.
            norm = [nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
            layers += norm if normalize else [nn.ReLU(), nn.MaxPool2d(2)]
        head = [nn.Flatten(), nn.Dropout(dropout), nn.Linear(width * size[0] * size[1], num_classes)]
        return change(nn.Sequential(*layers, *head))

    return make(_width(make, parameters))


def activations(network: nn.Sequential, image: Tensor) -> list[Tensor]:
    """The outputs `[N, F]` of the three layers with weights of a network of `cnn`, pooled where it pools."""
    seen = []
    for layer in network:
        image = layer(image)
        if isinstance(layer, nn.MaxPool2d | nn.Linear):
            seen.append(image.flatten(1))
    return seen


def _width(make: Callable[[int], nn.Module], parameters: int) -> int:
    """The largest width whose network has no more than that many parameters. ValueError if none has."""
    low, high = 1, _WIDEST
    least = _count_on_meta(make, low)
    if least > parameters:
        raise ValueError(f"parameters: wanted at least {least} for the classification network, got {parameters} for it")
    while low < high:
        middle = (low + high + 1) // 2
        # On the meta device a network costs nothing to make.
        if _count_on_meta(make, middle) <= parameters:
            low = middle
        else:
            high = middle - 1
    return low


def _count_on_meta(make: Callable[[int], nn.Module], width: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(width).parameters())
