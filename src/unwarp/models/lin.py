"""The small networks of the inverse-compositional paper (Lin and Lucey 2017, arXiv 1612.03897), as its code has them.

At 28×28 the plain network has 39,079 parameters, the one behind a spatial transformer with 8 parameters 39,048.
"""

from collections.abc import Callable, Sequence

from torch import nn

from unwarp.nn import Localization
from unwarp.transforms import Transform

_HIDDEN = 48


def lin_cnn(in_shape: Sequence[int], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """The plain network, for images `(C, H, W)` of 14×14 and more: four convolutions and a hidden layer."""
    size = _after(in_shape, lambda extent: (extent - 4) // 2 - 4)
    return nn.Sequential(
        *_convolution(in_shape[0], 3, 3),
        *_convolution(3, 6, 3),
        nn.MaxPool2d(2),
        *_convolution(6, 9, 3),
        *_convolution(9, 12, 3),
        nn.Flatten(),
        nn.Linear(12 * size[0] * size[1], _HIDDEN),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(_HIDDEN, num_classes),
    )


def lin_classifier(in_shape: Sequence[int], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """The network behind the spatial transformer: one convolution and a linear layer."""
    size = _after(in_shape, lambda extent: extent - 8)
    return nn.Sequential(
        *_convolution(in_shape[0], 3, 9),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(3 * size[0] * size[1], num_classes),
    )


def lin_localization(in_shape: Sequence[int], transform: Transform) -> Localization:
    """The localization network, for images `(C, H, W)` of 14×14 and more."""
    size = _after(in_shape, lambda extent: (extent - 12) // 2)
    features = nn.Sequential(
        *_convolution(in_shape[0], 4, 7),
        *_convolution(4, 8, 7),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * size[0] * size[1], _HIDDEN),
        nn.ReLU(),
    )
    return Localization(features, _HIDDEN, transform)


def _convolution(before: int, after: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, kernel), nn.ReLU()


def _after(in_shape: Sequence[int], extent: Callable[[int], int]) -> list[int]:
    """Extents behind the convolutions. ValueError if nothing is left of the image."""
    size = [extent(before) for before in in_shape[1:]]
    if min(size) < 1:
        raise ValueError(f"in_shape: wanted images of at least 14×14 for the networks of Lin and Lucey, got {in_shape}")
    return size
