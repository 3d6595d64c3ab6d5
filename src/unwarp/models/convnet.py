"""A small network of its time: 3×3 convolutions with batch normalisation."""

from collections.abc import Sequence

from torch import nn

_PLACES = 5


def convnet(
    in_shape: Sequence[int],
    num_classes: int,
    *,
    widths: Sequence[int] = (32, 64, 64, 128),
    dropout: float = 0.0,
) -> nn.Module:
    """Convolutions of 3×3 with batch normalisation, for images `(C, H, W)` of any size.

    The picture is halved after the first and the third convolution, and averaged to 5×5 before the last layer: in
    canonical pose it matters where a feature is. About 160k parameters at the default widths.
    """
    layers: list[nn.Module] = []
    before = in_shape[0]
    size = list(in_shape[1:])
    for index, width in enumerate(widths):
        layers.append(nn.Conv2d(before, width, 3, padding=1, bias=False))
        # Before the normalisation, which then has a quarter of the work.
        if index % 2 == 0 and min(in_shape[1:]) >= 4 << index:
            layers.append(nn.MaxPool2d(2))
            size = [extent // 2 for extent in size]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    # On features of that very size it changes nothing, and would take a tenth of a training step.
    places = nn.Identity() if size == [_PLACES, _PLACES] else nn.AdaptiveAvgPool2d(_PLACES)
    head = [
        places,
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(before * _PLACES**2, num_classes),
    ]
    return nn.Sequential(*layers, *head)
